"""Standard logging: a handler whose records become the artifact `logging.log` of the run that is active."""

import logging

from stratal.core.ids import RunId
from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import complain
from stratal.tracking.output import LOGGING, OutputFile

LIBRARY = "logging"
NAME = "logging.log"


class RunHandler(logging.Handler):
    """`logging.getLogger().addHandler(st.callback("logging"))`. Levels and filters are the loggers' and its own, as ever."""

    def __init__(self, run: OpenRun | None = None) -> None:
        """run: None for the active one of each record."""
        super().__init__()
        self._run = run
        self._files: dict[RunId, OutputFile] = {}
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record. `logging` calls it under the handler's lock."""
        run = self._run or active.active_run()
        if run is None or not run.is_open or record.name.startswith("stratal.tracking.autolog"):
            return
        try:
            text = self.format(record) + "\n"
            (self._files.get(run.id) or self._open(run)).append(text.encode(errors="replace"))
        except Exception as error:  # noqa: BLE001  # the edge: logging must not fail
            complain(LIBRARY, f"{type(error).__name__}: {error}")

    def _open(self, run: OpenRun) -> OutputFile:
        file = self._files[run.id] = OutputFile(run.store.folder / LOGGING, run.id, run.epoch)
        run.before_end(lambda: self._close_run(run))
        return file

    def _close_run(self, run: OpenRun) -> None:
        self.acquire()
        try:
            file = self._files.pop(run.id, None)
        finally:
            self.release()
        if file is not None:
            run.save_bytes(NAME if not run.epoch else f"logging-{run.epoch}.log", file.close())
            file.remove()
