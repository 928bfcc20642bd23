"""Standard logging: a handler whose records become the artifact `logging.log` of the run that is active."""

import logging
import weakref

from stratal.tracking import active
from stratal.tracking.active import OpenRun
from stratal.tracking.autolog.fits import complain
from stratal.tracking.output import LOGGING, OutputFile, artifact_name, deliver_aside

LIBRARY = "logging"


class RunHandler(logging.Handler):
    """`logging.getLogger().addHandler(st.callback("logging"))`. Levels and filters are the loggers' and its own, as ever."""

    def __init__(self, run: OpenRun | None = None) -> None:
        """run: None for the active one of each record."""
        super().__init__()
        self._run = run
        # None: the run is ending, and its file is closed.
        self._files: weakref.WeakKeyDictionary[OpenRun, OutputFile | None] = weakref.WeakKeyDictionary()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record. `logging` calls it under the handler's lock."""
        run = self._run or active.active_run()
        if run is None or not run.is_open or run.is_joined or record.name.startswith("stratal.tracking.autolog"):
            return
        try:
            text = self.format(record) + "\n"
            file = self._files[run] if run in self._files else self._open(run)
            if file is not None:
                file.append(text.encode(errors="replace"))
        except Exception as error:  # noqa: BLE001  # the edge: logging must not fail
            complain(LIBRARY, f"{type(error).__name__}: {error}")

    def _open(self, run: OpenRun) -> OutputFile:
        file = self._files[run] = OutputFile(run.store.folder / LOGGING, run.id, run.epoch)
        deliver_aside(run.store)
        run.before_end(lambda: self._close_run(run))
        return file

    def _close_run(self, run: OpenRun) -> None:
        self.acquire()
        try:
            file, self._files[run] = self._files.get(run), None
        finally:
            self.release()
        if file is not None:
            file.keep(run, artifact_name(run.epoch, LOGGING))
