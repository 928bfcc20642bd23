"""Policies: what must hold before a version may stand somewhere.

The same policy gives the same digest, whether it was written in Python, JSON or TOML, and in whatever order.
"""

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Literal

from stratal.core.errors import Damaged, Misuse
from stratal.core.records import Record, from_json, to_json
from stratal.registry.stages import Stage, way_to

FORMAT = 1
DAY_S = 86_400

# Metrics of which less is better, so that `better_than_champion("brier")` asks for the right side.
LESS_IS_BETTER: frozenset[str] = frozenset({"log_loss", "brier", "brier_score", "ece", "calibration_error", "mae", "mse", "rmse"})

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class MetricGate(Record, frozen=True, kw_only=True, tag="metric"):
    """`metric[where] op bound`. `where` is a slice ("contract=One year"), a sensitive attribute ("gender"), or None."""

    metric: str
    where: str | None = None
    op: Literal[">=", "<="]
    bound: float

    @property
    def label(self) -> str:
        return f"{self.name} {self.op} {self.bound:g}"

    @property
    def name(self) -> str:
        return self.metric if self.where is None else f"{self.metric}[{self.where}]"


class DataValid(Record, frozen=True, kw_only=True, tag="data_valid"):
    """Each dataset version that the training goes back to passed its validation."""

    @property
    def label(self) -> str:
        return "data valid"


class BetterThanChampion(Record, frozen=True, kw_only=True, tag="better_than_champion"):
    """Better than the version in Production, on the same rows, by a paired test at that confidence."""

    metric: str
    confidence: float
    less_is_better: bool

    @property
    def label(self) -> str:
        return f"{self.metric} better than champion ({self.confidence:g})"


class Approvals(Record, frozen=True, kw_only=True, tag="approvals"):
    """`count` distinct people who hold `role`, none of them requester or author. Each approval ends after `expires_s`."""

    count: int
    role: str
    expires_s: int
    authenticated: bool

    @property
    def label(self) -> str:
        return f"{self.count} approval{'s' if self.count > 1 else ''} by role {self.role}"


Gate = MetricGate | DataValid | BetterThanChampion
Requirement = MetricGate | DataValid | BetterThanChampion | Approvals


class Policy(Record, frozen=True, kw_only=True):
    """Requirements per stage. `evidence_max_age_s`: facts older than that are stale; None: facts do not age.

    `confidence`: an interval of less confidence does not hold a bound.
    """

    staging: tuple[Requirement, ...] = ()
    production: tuple[Requirement, ...] = ()
    evidence_max_age_s: int | None = None
    confidence: float = 0.95

    @property
    def digest(self) -> str:
        """The sha256 of the canonical form: order and repetition of requirements do not count."""
        return hashlib.sha256(to_json(_canonical(self)).encode()).hexdigest()

    def gates(self, target: Stage) -> tuple[Gate, ...]:
        """Give the gates of a stage: its own, and those of the stages below, which must still hold."""
        asked = [need for stage in way_to(target) for need in self._of(stage) if not isinstance(need, Approvals)]
        return tuple(dict.fromkeys(asked))

    def approvals(self, target: Stage) -> tuple[Approvals, ...]:
        """Give the approvals that a stage itself asks for."""
        return tuple(need for need in self._of(target) if isinstance(need, Approvals))

    def approvals_to_change(self) -> tuple[Approvals, ...]:
        """Give the approvals that replacing this policy takes: those of Production, else those of Staging."""
        return self.approvals(Stage.PRODUCTION) or self.approvals(Stage.STAGING)

    def _of(self, stage: Stage) -> tuple[Requirement, ...]:
        return {Stage.STAGING: self.staging, Stage.PRODUCTION: self.production}.get(stage, ())


def policy(
    *,
    staging: Sequence[Requirement] = (),
    production: Sequence[Requirement] = (),
    evidence_max_age: str | int | None = None,
    confidence: float = 0.95,
) -> Policy:
    """Make a policy from requirements: `gate(...)`, `data_valid()`, `better_than_champion(...)`, `approvals(...)`.

    evidence_max_age: seconds, or a text such as "14d". Production also asks again for the gates of Staging.
    """
    for place, needs in (("staging", staging), ("production", production)):
        _check_needs(place, needs)
    return Policy(
        staging=tuple(staging),
        production=tuple(production),
        evidence_max_age_s=None if evidence_max_age is None else _seconds(evidence_max_age),
        confidence=_share("confidence", confidence),
    )


def gate(text: str) -> MetricGate:
    """Read a bound on a metric, a slice, a fairness measure or a KPI: `auc >= 0.80`, `auc[contract=One year] >= 0.7`,
    `equalized_odds_difference[gender] <= 0.15`, `campaign profit >= 0`.

    `>=` is held by the low end of the interval, `<=` by the high end. Raises Misuse that shows the position.
    """
    named = text.rfind("]") + 1  # what stands in brackets may itself hold an operator
    found = re.compile(">=|<=").search(text, named)
    if found is None:
        odd = re.compile("[=!<>]").search(text, named)
        place = odd.start() if odd else len(text.rstrip())
        raise _unreadable(text, place, "expected >= or <= here", "write for example: auc >= 0.80")
    metric, where = _read_name(text, found.start())
    number = text[found.end() :]
    place = found.end() + len(number) - len(number.lstrip())
    try:
        bound = float(number)
    except ValueError:
        raise _unreadable(text, place, "expected a number here", "write for example: auc >= 0.80") from None
    if not math.isfinite(bound):
        raise _unreadable(text, place, "a bound must be a finite number", "nothing passes NaN, and everything passes infinity")
    # `+ 0.0` turns -0.0 into 0.0: equal bounds must give equal digests.
    return MetricGate(metric=metric, where=where, op=">=" if found.group() == ">=" else "<=", bound=bound + 0.0)


def data_valid() -> DataValid:
    """Ask that the data behind the training passed its validation."""
    return DataValid()


def better_than_champion(metric: str, *, confidence: float = 0.95, less_is_better: bool | None = None) -> BetterThanChampion:
    """Ask for better than the version in Production, on the same rows. Passes visibly when there is none.

    less_is_better: which side is better; None: known for log_loss, brier and their kin, else more is better.
    """
    if not metric.strip():
        raise Misuse("better_than_champion needs the name of a metric", hint='write for example: better_than_champion("auc")')
    side = metric in LESS_IS_BETTER if less_is_better is None else less_is_better
    return BetterThanChampion(metric=metric.strip(), confidence=_share("confidence", confidence), less_is_better=side)


def approvals(count: int = 1, *, role: str = "approver", expires: str | int = "7d", authenticated: bool = False) -> Approvals:
    """Ask for that many distinct people of a role. Nobody approves what they requested or made.

    expires: seconds, or a text such as "7d"; authenticated: only identities that a server has checked count.
    """
    if not _is_whole(count) or count < 1:
        raise Misuse(f"approvals({count!r}) asks for nobody", hint="ask for 1 or more, or leave the requirement out")
    if not _ROLE.fullmatch(role):
        raise Misuse(f"{role!r} is not a role name", hint="a role has lower-case letters, digits, - and _, and starts with a letter")
    return Approvals(count=count, role=role, expires_s=_seconds(expires), authenticated=authenticated)


def policy_to_json(value: Policy) -> str:
    """Write a policy as JSON. `policy_from_json` gives it back, with the same digest."""
    return to_json(_document(value))


def policy_from_json(text: str) -> Policy:
    """Read a policy from JSON. Raises Misuse with the place of the first wrong thing."""
    try:
        document = from_json(text, dict[str, object])
    except (Damaged, UnicodeError) as error:
        raise Misuse(f"this is not JSON of a policy: {error}", hint="policy_to_json shows the form") from error
    return _from_document(document)


def policy_to_toml(value: Policy) -> str:
    """Write a policy as TOML. `policy_from_toml` gives it back, with the same digest."""
    document = _document(value)
    lines = [f"{key} = {_toml(item)}" for key, item in document.items() if not isinstance(item, list)]
    for key, needs in document.items():
        if isinstance(needs, list):
            lines += ["", f"{key} = [", *(f"  {_toml(need)}," for need in needs), "]"]
    return "\n".join(lines) + "\n"


def policy_from_toml(text: str) -> Policy:
    """Read a policy from TOML. Raises Misuse with the place of the first wrong thing."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # its message ends with line and column
        raise Misuse(f"the policy is not TOML: {error}", hint="policy_to_toml shows the form") from error
    return _from_document(document)


def _read_name(text: str, end: int) -> tuple[str, str | None]:
    """Read `metric` or `metric[where]` from text[:end]."""
    name = text[:end].rstrip()
    start = len(name) - len(name.lstrip())
    opened = name.find("[")
    metric = (name if opened < 0 else name[:opened]).strip()
    if not metric:
        raise _unreadable(text, start, "expected the name of a metric here", "write for example: auc >= 0.80")
    if opened < 0:
        if "]" in name:
            raise _unreadable(text, name.index("]"), "this ] closes nothing", "write for example: auc[contract=One year] >= 0.7")
        return metric, None
    if not name.endswith("]"):
        raise _unreadable(text, len(name), "expected ] here", "write for example: auc[contract=One year] >= 0.7")
    where = name[opened + 1 : -1].strip()
    if not where or "[" in where or "]" in where:
        raise _unreadable(text, opened + 1, "expected one slice or attribute here", "write [contract=One year] or [gender]")
    key, separator, value = where.partition("=")
    return metric, f"{key.strip()}={value.strip()}" if separator else where


def _unreadable(text: str, place: int, what: str, hint: str) -> Misuse:
    return Misuse(f"cannot read the gate: {what}\n    {text}\n    {' ' * place}^ position {place + 1}", hint=hint)


def _check_needs(place: str, needs: Sequence[object]) -> None:
    roles: set[str] = set()
    for index, need in enumerate(needs):
        if not isinstance(need, Requirement):
            hint = f"write gate({need!r})" if isinstance(need, str) else "use gate, data_valid, better_than_champion or approvals"
            raise Misuse(f"{place}[{index}] is no requirement: {need!r}", hint=hint)
        if isinstance(need, Approvals):
            if need.role in roles:
                raise Misuse(f"{place}[{index}] asks for role {need.role!r} a second time", hint="ask once, with the sum as count")
            roles.add(need.role)


def _seconds(value: str | int) -> int:
    found = re.fullmatch(r"\s*(\d{1,9})\s*([smhdw])\s*", value) if isinstance(value, str) else None
    seconds = int(found.group(1)) * _UNITS_S[found.group(2)] if found else value
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
        raise Misuse(f"{value!r} is not a span of time", hint='write seconds, or a text such as "12h", "7d" or "2w"')
    return seconds


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise Misuse(f"{name} = {value!r} is not between 0 and 1", hint=f"write for example {name}=0.95")
    return float(value)


def _canonical(value: Policy) -> dict[str, object]:
    """Give the document with each list sorted and free of repetitions, structured so that no text form matters."""
    return {
        "format": FORMAT,
        "confidence": value.confidence,
        "evidence_max_age_s": value.evidence_max_age_s,
        "staging": sorted({to_json(need) for need in value.staging}),
        "production": sorted({to_json(need) for need in value.production}),
    }


def _document(value: Policy) -> dict[str, object]:
    document: dict[str, object] = {"format": FORMAT, "confidence": value.confidence}
    if value.evidence_max_age_s is not None:
        document["evidence_max_age_s"] = value.evidence_max_age_s
    for stage, needs in (("staging", value.staging), ("production", value.production)):
        document[stage] = [_need_document(need) for need in needs]
    return document


def _need_document(need: Requirement) -> dict[str, object]:
    match need:
        case MetricGate():
            return {"gate": f"{need.name} {need.op} {need.bound!r}"}
        case DataValid():
            return {"data_valid": True}
        case BetterThanChampion():
            return {"better_than_champion": need.metric, "confidence": need.confidence, "less_is_better": need.less_is_better}
        case Approvals():
            return {"approvals": need.count, "role": need.role, "expires_s": need.expires_s, "authenticated": need.authenticated}


def _from_document(document: Mapping[str, object]) -> Policy:
    known = {"format", "confidence", "evidence_max_age_s", "staging", "production"}
    _check_keys("the policy", document, known)
    if document.get("format", FORMAT) != FORMAT:
        raise Misuse(f"format {document['format']!r} of a policy is unknown", hint=f"this version of Stratal reads format {FORMAT}")
    age = document.get("evidence_max_age_s")
    if age is not None and not isinstance(age, str | int):
        raise Misuse(f"evidence_max_age_s = {age!r} is not a span of time", hint='write seconds, or a text such as "14d"')
    return policy(
        staging=_read_needs("staging", document.get("staging", [])),
        production=_read_needs("production", document.get("production", [])),
        evidence_max_age=age,
        confidence=_number("confidence", document.get("confidence", 0.95)),
    )


def _read_needs(place: str, items: object) -> list[Requirement]:
    if not isinstance(items, list):
        raise Misuse(f"{place} is not a list of requirements", hint=f'write {place} = [ {{ gate = "auc >= 0.80" }} ]')
    return [_read_need(f"{place}[{index}]", item) for index, item in enumerate(items)]


def _read_need(place: str, item: object) -> Requirement:
    if not isinstance(item, dict):
        raise Misuse(f"{place} is not a table: {item!r}", hint='write for example { gate = "auc >= 0.80" }')
    try:
        if "gate" in item:
            _check_keys(place, item, {"gate"})
            return gate(_text("gate", item["gate"]))
        if "data_valid" in item:
            _check_keys(place, item, {"data_valid"})
            return _true("data_valid", item["data_valid"])
        if "better_than_champion" in item:
            return _read_better(place, item)
        if "approvals" in item:
            return _read_approvals(place, item)
    except Misuse as error:
        raise Misuse(f"{place}: {error.message}", hint=error.hint) from error
    raise Misuse(f"{place} names no requirement", hint="known are: gate, data_valid, better_than_champion, approvals")


def _read_better(place: str, item: Mapping[str, object]) -> BetterThanChampion:
    _check_keys(place, item, {"better_than_champion", "confidence", "less_is_better"})
    return better_than_champion(
        _text("better_than_champion", item["better_than_champion"]),
        confidence=_number("confidence", item.get("confidence", 0.95)),
        less_is_better=_flag("less_is_better", item["less_is_better"]) if "less_is_better" in item else None,
    )


def _read_approvals(place: str, item: Mapping[str, object]) -> Approvals:
    _check_keys(place, item, {"approvals", "role", "expires_s", "authenticated"})
    count, expires = item["approvals"], item.get("expires_s", "7d")
    if not isinstance(count, int) or not isinstance(expires, str | int):
        raise Misuse("approvals and expires_s are whole numbers", hint='write { approvals = 1, role = "approver", expires_s = 604800 }')
    return approvals(
        count,
        role=_text("role", item.get("role", "approver")),
        expires=expires,
        authenticated=_flag("authenticated", item.get("authenticated", False)),
    )


def _check_keys(place: str, item: Mapping[str, object], known: set[str]) -> None:
    if unknown := sorted(set(item) - known):
        raise Misuse(f"{place} has unknown keys: {', '.join(unknown)}", hint=f"known are: {', '.join(sorted(known))}")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Misuse(f"{name} = {value!r} is not a text", hint="put it in quotes")
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misuse(f"{name} = {value!r} is not a number", hint="write it without quotes")
    return float(value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Misuse(f"{name} = {value!r} is neither true nor false", hint="write true or false, without quotes")
    return value


def _true(name: str, value: object) -> DataValid:
    if value is not True:
        raise Misuse(f"{name} = {value!r} asks for nothing", hint="leave the requirement out")
    return data_valid()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON does not.
    return to_json(value).replace("\x7f", "\\u007f")
