"""What stands between a version and a stage, and what came of a wish to go there."""

from stratal.core.errors import Refused
from stratal.core.records import Record
from stratal.registry.approving import Request, Ruling
from stratal.registry.gates import GateResult, Verdict
from stratal.registry.stages import Stage, has_passed


class Assessment(Record, frozen=True, kw_only=True):
    """Gates and approvals for one transition, on one snapshot. `epoch` is the model's: it must not have moved on at the end.

    `policy` None: the model is ungoverned. `request`: the open one on this very evidence.
    """

    name: str
    number: int
    digest: str
    stage: Stage
    target: Stage
    epoch: int
    policy: str | None
    champion: str | None
    results: tuple[GateResult, ...] = ()
    ruling: Ruling = Ruling()
    evidence: str
    request: Request | None = None

    @property
    def ref(self) -> str:
        return f"model:{self.name}@{self.number}"

    @property
    def gates_pass(self) -> bool:
        return all(result.verdict is Verdict.PASS for result in self.results)

    @property
    def is_ready(self) -> bool:
        return self.gates_pass and not self.ruling.missing


class Promotion(Record, frozen=True, kw_only=True):
    """What a change of stage did. `changed` False: nothing had to be done, and `said` tells why."""

    name: str
    number: int
    source: Stage
    target: Stage
    changed: bool
    said: str
    archived: tuple[int, ...] = ()
    evidence: str = ""
    results: tuple[GateResult, ...] = ()
    approved_by: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        return f"model:{self.name}@{self.number}"

    def __str__(self) -> str:
        return self.said


class PolicyChange(Record, frozen=True, kw_only=True):
    """What a wish for another policy did. `is_in_force` False: `request` waits for the approvals that `missing` names."""

    name: str
    digest: str
    is_in_force: bool
    changed: bool
    said: str
    missing: tuple[str, ...] = ()
    request: Request | None = None


class TransitionRefused(Refused):
    """Gates or approvals hold a version back. `assessment` has each gate's verdict and what is missing."""

    def __init__(self, assessment: Assessment) -> None:
        super().__init__(describe(assessment), hint=_next_steps(assessment))
        self.assessment = assessment


def nothing_to_do(seen: Assessment) -> Promotion | None:
    """Give the promotion that changes nothing, if the stage is held already, or passed on a governed ladder; else None."""
    if seen.stage is seen.target:
        said = f"{seen.ref} is in {seen.target} already"
    elif seen.policy is not None and has_passed(seen.stage, seen.target):
        said = f"{seen.ref} is in {seen.stage}, which is past {seen.target}"
    else:
        return None
    return Promotion(name=seen.name, number=seen.number, source=seen.stage, target=seen.target, changed=False, said=said)


def describe(assessment: Assessment) -> str:
    """Say in plain words what each gate and approval says of a transition."""
    what = "is clear" if assessment.is_ready else "is refused"
    lines = [f"{assessment.ref}: {assessment.stage} → {assessment.target} {what}"]
    width = max((len(result.gate) for result in assessment.results), default=0)
    lines += [f"  {result.verdict:<8} {result.gate:<{width}}  {result.why}" for result in assessment.results]
    lines += [f"  missing  {text}" for text in assessment.ruling.missing]
    lines += [f"  void     approval of {text}" for text in assessment.ruling.void]
    return "\n".join(lines)


def _next_steps(assessment: Assessment) -> str:
    steps = list(dict.fromkeys(result.todo for result in assessment.results if result.todo and result.verdict is not Verdict.PASS))
    if assessment.gates_pass and assessment.ruling.missing:
        steps.append(f"somebody else approves: stratal approve {assessment.ref} {assessment.target}")
    return "; ".join(steps) or f"see: stratal gates {assessment.ref} {assessment.target}"
