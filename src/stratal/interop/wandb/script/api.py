"""`wandb.Api`: runs that were logged, read back as scripts for W&B read them."""

from collections.abc import Iterator, Mapping, Sequence

from stratal.interop.wandb.script.artifacts import UsedArtifact, find_artifact
from stratal.interop.wandb.script.missing import refuse
from stratal.interop.wandb.script.session import ID_TAG, find_earlier, true_tags
from stratal.interop.wandb.script.settings import Error, Said
from stratal.tracking.facts import SYSTEM
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import current_store
from stratal.tracking.reading import ReadRun

_STATES = {"running": "running", "finished": "finished", "failed": "failed", "stopped": "killed", "lost": "crashed"}


class ApiRun:
    """A run that was logged. `ours` is the run that was read."""

    def __init__(self, ours: ReadRun) -> None:
        """Scripts get one from `Api().run` or `Api().runs`."""
        self.ours = ours
        self.id, self.name, self.project = ours.tags.get(ID_TAG, ours.short), ours.name or ours.short, ours.experiment
        self.config, self.state, self.tags = ours.params, _STATES[ours.status], true_tags(ours)
        self.group, self.job_type = ours.group, ours.job_type
        self.created_at = "" if ours.started is None else ours.started.isoformat()

    @property
    def summary(self) -> dict[str, float]:
        """The value that stands for each metric."""
        return {name: said.value for name, said in self.ours.summary.items() if not name.startswith(SYSTEM)}

    @property
    def notes(self) -> str:
        """All notes, one a line."""
        return "\n".join(note.text for note in self.ours.notes)

    def scan_history(
        self, keys: Sequence[str] | None = None, page_size: int = 1000, min_step: int | None = None, max_step: int | None = None
    ) -> Iterator[dict[str, object]]:
        """Give every row in order: its metrics by name, `_step`, `_timestamp` and `_runtime` (s).

        keys: only these, of rows that have all of them. min_step, max_step: from the one, and below the other."""
        for row in self._rows(keys):
            step = row["_step"]
            assert isinstance(step, int)
            if (min_step is not None and step < min_step) or (max_step is not None and step >= max_step):
                continue
            if keys is None:
                yield row
            elif all(key in row for key in keys):
                yield {key: row[key] for key in keys}

    def history(
        self, samples: int | None = None, keys: Sequence[str] | None = None, x_axis: str = "_step", pandas: bool = True,
        stream: str = "default",
    ) -> object:  # fmt: skip
        """Give all rows, as a frame of pandas or as a list. W&B samples 500 of them; nothing is left out here."""
        if stream != "default":
            refuse(f"stream={stream!r}", "st.get(RUN).series('system/cpu_percent'): each is a series, named in st.get(RUN).metrics")
        rows = list(self.scan_history(None if keys is None else list(dict.fromkeys([*keys, x_axis]))))
        if not pandas:
            return rows
        import polars  # both only for those who ask for a frame of it

        from stratal.tracking.frames import to_pandas

        try:
            return to_pandas(polars.DataFrame(rows, infer_schema_length=None))
        except ModuleNotFoundError as error:
            raise Error("pandas is not installed", hint="pip install pandas; or history(pandas=False) gives a list of dicts") from error

    def _rows(self, keys: Sequence[str] | None) -> list[dict[str, object]]:
        there = [name for name in self.ours.metrics if not name.startswith(SYSTEM)]
        wanted = there if keys is None or all(key.startswith("_") for key in keys) else [name for name in there if name in keys]
        began = 0.0 if self.ours.started is None else self.ours.started.timestamp()
        rows: dict[int, dict[str, object]] = {}
        for name in wanted:
            steps, times, values = self.ours.series(name)
            for step, time_ns, value in zip(steps.tolist(), times.astype("int64").tolist(), values.tolist(), strict=True):
                row = rows.setdefault(step, {"_step": step})
                row[name], row["_timestamp"], row["_runtime"] = value, time_ns / 1e9, time_ns / 1e9 - began
        return [rows[step] for step in sorted(rows)]

    def __repr__(self) -> str:
        return f"<Run {self.project}/{self.id} ({self.state})>"


class Api:
    """Reads the store that is in use."""

    def __init__(self, *ignored: object, **more: object) -> None:
        """Take what W&B's takes: keys, timeouts and addresses say nothing here."""

    def run(self, path: str) -> ApiRun:
        """Give a run by [entity/]project/id, or by its id. Raises Error if there is none."""
        *owner, id = [part for part in path.split("/") if part not in ("", "runs")]
        found = find_earlier(owner[-1] if owner else None, id)
        if found is None:
            raise Error(f"there is no run {path!r}", hint="list runs: stratal runs")
        return ApiRun(found)

    def runs(
        self, path: str | None = None, filters: Mapping[str, object] | None = None, order: str = "-created_at", per_page: int = 50,
        include_sweeps: bool = True, lazy: bool = True,
    ) -> list[ApiRun]:  # fmt: skip
        """List the runs of [entity/]project, the newest first; '+created_at' the oldest first."""
        if filters:
            refuse("filters", 'say it in our language: st.runs("params.lr > 0.1 and metrics.auc > 0.9", experiment=PROJECT)')
        if order not in ("-created_at", "+created_at", "created_at"):
            refuse(f"order={order!r}", 'order by anything: st.runs(order_by="metrics.auc desc", experiment=PROJECT)')
        project = path.strip("/").rpartition("/")[2] if path else None
        return [ApiRun(run) for run in find_runs(experiment=project, order_by="started desc" if order.startswith("-") else "started")]

    def artifact(self, name: str, type: str | None = None) -> UsedArtifact:
        """Give a version of an artifact by [[entity/]project/]name[:version or alias]. Raises Error if there is none."""
        return find_artifact(current_store(), Said(None).text(None, "project", "PROJECT") or "uncategorized", name, type=type)
