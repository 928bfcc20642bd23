"""A trial while it is tried: what the objective gets, and what becomes of what it does."""

import math
from collections.abc import Callable, Iterator, Mapping

from stratal.core.errors import Misuse, StaleLease, StoreDown
from stratal.store.leases import stale
from stratal.tracking.leased import LeasedRun
from stratal.tracking.values import Params, Scalar
from stratal.tuning.stoppers.port import Stopper
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import Assignment, Result, StudyVersion

Returned = float | Mapping[str, float] | None
# Whether a trial is to stop, after it has reported a value (None: NaN) at a step.
Decision = Callable[[int, float | None], bool]
# Called as objective(trial) or, if the study has data, objective(trial, data).
Objective = Callable[..., Returned]


class TrialStopped(Exception):  # no error: the study has seen enough of these params
    """Raised by `trial.report` when the stopper ends the trial. Let it pass; clean up in `finally`."""


class LiveTrial(Mapping[str, Scalar]):
    """The params of a trial as a mapping, `report` for values on the way, and `run` to log anything else to."""

    def __init__(self, metric: str, assignment: Assignment, run: LeasedRun, is_to_stop: Decision | None = None) -> None:
        self._metric = metric
        self._assignment = assignment
        self._is_to_stop = is_to_stop
        self._reports = 0
        self.run = run
        self.last_value: float | None = None
        self.last_step: int | None = None

    @property
    def number(self) -> int:
        """Its number in the study, from 0."""
        return self._assignment.number

    @property
    def attempt(self) -> int:
        """1, or more if workers died on it before."""
        return self._assignment.attempt

    @property
    def params(self) -> Params:
        """All params, as a dict of its own."""
        return dict(self._assignment.params)

    def __getitem__(self, name: str) -> Scalar:
        params = self._assignment.params
        if name not in params:
            raise Misuse(f"the space has no {name!r}", hint=f"it has: {', '.join(params)}")
        return params[name]

    def __contains__(self, name: object) -> bool:
        return name in self._assignment.params

    def __iter__(self) -> Iterator[str]:
        return iter(self._assignment.params)

    def __len__(self) -> int:
        return len(self._assignment.params)

    def report(self, value: float, step: int | None = None) -> None:
        """Report the metric on the way: after an epoch, a fold, a rung. Raises TrialStopped if going on is not worth it,
        StaleLease if another worker has taken the trial over.

        step: comparable between trials; by default 0, 1, 2... A value that gets better with steps, or a running mean, compares best.
        """
        value, step = float(value), self._reports if step is None else int(step)
        if self.run.is_lost:
            raise stale(self.run.id, self.run.token)
        self._reports += 1
        self.last_value, self.last_step = (None if math.isnan(value) else value), step
        self.run.log({self._metric: value}, step=step)
        if self._is_to_stop is not None and self._is_to_stop(step, self.last_value):
            raise TrialStopped(f"trial {self.number} is stopped at step {step}: {self._metric} = {value:g}")


def stopping_by(stopper: Stopper, studies: StudyStore, version: StudyVersion, assignment: Assignment) -> Decision:
    """Let a stopper decide, by what this trial and others have reported to their study."""

    def losses(values: tuple[float | None, ...]) -> list[float]:
        found = (version.loss(value) for value in values)
        return [math.nan if loss is None else loss for loss in found]

    def is_to_stop(step: int, value: float | None) -> bool:
        standing = studies.report(
            name=version.name, version=version.version, number=assignment.number, run=assignment.run, token=assignment.token,
            step=step, value=value,
        )  # fmt: skip
        return stopper.should_stop(step, losses(standing.own), losses(standing.peers))

    return is_to_stop


def try_objective(objective: Objective, data: object, trial: LiveTrial, metric: str) -> Result:
    """Run the objective, and say what came out. What the objective raises is its result; only our own errors pass."""
    try:
        returned = objective(trial) if data is None else objective(trial, data)
        return _to_result(returned, trial, metric)
    except TrialStopped:
        return Result(status="stopped", value=trial.last_value, step=trial.last_step)
    except (StaleLease, StoreDown):
        raise
    except Exception as error:  # noqa: BLE001  # the edge: a user's function may raise anything, and the study goes on
        return Result(status="failed", step=trial.last_step, error=f"{type(error).__name__}: {error}"[:2000])


def _to_result(returned: Returned, trial: LiveTrial, metric: str) -> Result:
    if isinstance(returned, Mapping):
        if metric not in returned:
            known = ", ".join(map(str, returned)) or "nothing"
            raise Misuse(f"the objective returned {known}, but the study is about {metric!r}", hint=f"return it too: {{{metric!r}: ...}}")
        value = float(returned[metric])
        trial.run.log({name: number for name, number in returned.items() if name != metric} | {"value": value})
    elif returned is None:
        if trial.last_step is None:
            raise Misuse("the objective returned nothing and reported nothing", hint=f"return {metric} as a number, or report it")
        value = math.nan if trial.last_value is None else trial.last_value
        trial.run.log({"value": value})
    else:
        value = float(returned)
        trial.run.log({"value": value})
    if math.isnan(value):
        raise Misuse(f"{metric} is not a number (NaN)", hint="return a bad but finite value for params that cannot work")
    if value != trial.last_value:
        trial.run.log({metric: value})
    return Result(status="finished", value=value, step=trial.last_step)
