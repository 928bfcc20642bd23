"""What may be chosen for steps and pipelines, and which errors are worth another attempt. Pure rules."""

from collections.abc import Callable
from dataclasses import dataclass

from stratal.compute.port import Workers
from stratal.core.errors import Misuse, StratalError
from stratal.pipelines.progress import StepEvent

LONGEST_BACKOFF_S = 60.0
# Attempts that a step gets beyond the first one although it asked for none, if the error was not its own: its worker died, or it
# said Temporary. A guess: twice is bad luck, four times is the step (a step that is killed for its memory must come to an end).
FREE_RETRIES = 3


class Temporary(StratalError):
    """Raise in a step what another attempt may mend: it is tried again after `delay_s` (None: the step's backoff)."""

    retryable = True

    def __init__(self, message: str, *, delay_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.delay_s = delay_s


class Permanent(StratalError):
    """Raise in a step what no further attempt can mend: its retries are not used."""


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """How one step runs. None of these is part of the cache key: they change how it runs, not what it gives."""

    # Path segment in the graph. None: the function's name.
    name: str | None = None
    # Further attempts after any error that is not permanent. Dead workers and Temporary have FREE_RETRIES in any case.
    retries: int = 0
    # Pause before the second attempt, doubled for each one after, at most LONGEST_BACKOFF_S.
    backoff_s: float = 1.0
    # Longest time of one attempt; its worker is killed then. None: no limit.
    timeout_s: float | None = None
    # May a finished result serve later runs? None: yes, unless the step is annotated `-> None` (its effect is all that it has).
    cache: bool | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How one pipeline runs."""

    # Worker processes. One by default: a second one costs memory that the user should decide about.
    workers: int = 1
    # False: run every step, and record the results for later runs.
    cache: bool = True
    # Time that a coordinator may be silent before another may take its run over. A guess: ten renewals' worth of a slow disk.
    lease_s: float = 30.0
    # Experiment under which runs appear. None: the pipeline's name.
    experiment: str | None = None
    # URL or folder of the store. None: the process's default one.
    store: str | None = None
    # Makes that many workers, whose runs go to the store of that URL. None: processes of this machine.
    compute: Callable[[int, str], Workers] | None = None
    # Called with each StepEvent, by the thread that runs the pipeline. None: a line per event on a terminal, else nothing.
    on_event: Callable[[StepEvent], None] | None = None


def check_step_options(options: StepOptions, step: str) -> None:
    """Raise Misuse for options that cannot be meant."""
    if options.retries < 0:
        raise Misuse(f"step {step!r}: retries = {options.retries} is negative", hint="0 means: no further attempt")
    if options.backoff_s < 0:
        raise Misuse(f"step {step!r}: backoff_s = {options.backoff_s} is negative", hint="0 means: at once")
    if options.timeout_s is not None and options.timeout_s <= 0:
        raise Misuse(f"step {step!r}: timeout_s = {options.timeout_s} leaves no time", hint="None means: no limit")
    if options.name is not None and (not options.name or any(letter in options.name for letter in "/#[]")):
        raise Misuse(f"step name {options.name!r} is empty or has one of / # [ ]", hint="these build the paths of the graph")


def check_pipeline_options(options: PipelineOptions, pipeline: str) -> None:
    """Raise Misuse for options that cannot be meant."""
    if options.workers < 1:
        raise Misuse(
            f"pipeline {pipeline!r}: workers = {options.workers}", hint="1 or more; to debug, call the pipeline as a plain function"
        )
    if options.lease_s <= 0:
        raise Misuse(f"pipeline {pipeline!r}: lease_s = {options.lease_s} is no time", hint="30 is the default")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed attempt, as far as the decision about another one needs it."""

    # The step's own error; "lost" (its worker died); "timeout".
    kind: str
    is_permanent: bool = False
    is_temporary: bool = False
    delay_s: float | None = None


def failure_of(error: BaseException) -> Failure:
    """Classify what a step raised. Of our own errors those that no repetition mends are permanent: a refusal stays a refusal."""
    if isinstance(error, Temporary):
        return Failure(kind="error", is_temporary=True, delay_s=error.delay_s)
    if isinstance(error, StratalError):
        return Failure(kind="error", is_permanent=not error.retryable, is_temporary=error.retryable)
    return Failure(kind="error", is_permanent=not isinstance(error, Exception))


def retry_delay_s(failure: Failure, *, failed: int, options: StepOptions) -> float | None:
    """Give the pause before the next attempt, None if there is none. `failed`: attempts that have failed, this one included."""
    if failure.is_permanent:
        return None
    is_free = failure.kind == "lost" or failure.is_temporary
    allowed = max(options.retries, FREE_RETRIES) if is_free else options.retries
    if failed > allowed:
        return None
    if failure.delay_s is not None:
        return max(0.0, failure.delay_s)
    return float(min(LONGEST_BACKOFF_S, options.backoff_s * 2.0 ** (failed - 1)))
