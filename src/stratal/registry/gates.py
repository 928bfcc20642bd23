"""Gates read facts and compute nothing: a verdict is a pure function of (policy, facts). Only `pass` passes.

A fact counts only if it names this version's digest, and was measured on rows that its training part does not hold.
"""

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

from stratal.core.clock import SECOND_NS
from stratal.core.records import Record, number_from_json, to_json
from stratal.registry.policies import BetterThanChampion, DataValid, Gate, MetricGate, Policy
from stratal.registry.stages import Stage


class Verdict(StrEnum):
    """What a gate says. Everything but PASS holds the version back."""

    PASS = "pass"
    FAIL = "fail"
    MISSING = "missing"
    STALE = "stale"
    ERROR = "error"


class Fact(Record, frozen=True, kw_only=True):
    """A statement as it was logged: who said it (the run), of what (the subject), when, and the body."""

    run: str
    subject: str
    at_ns: int
    body: dict[str, object]

    @property
    def id(self) -> str:
        """The digest of all that it says: a changed or newer statement is another fact."""
        return hashlib.sha256(to_json([self.run, self.subject, self.at_ns, self.body]).encode()).hexdigest()


class DataFact(Record, frozen=True, kw_only=True):
    """A dataset version behind the training, and the newest statement of its validation, if there is one."""

    dataset: str
    validation: Fact | None = None


class Champion(Record, frozen=True, kw_only=True):
    """The version in Production."""

    ref: str
    digest: str


class Facts(Record, frozen=True, kw_only=True):
    """All that gates may look at. `evaluations` in any order; `by_strangers`: how many more there are by people who may not contribute
    here; `data` empty: lineage leads to no dataset version."""

    digest: str
    now_ns: int
    champion: Champion | None = None
    evaluations: tuple[Fact, ...] = ()
    by_strangers: int = 0
    data: tuple[DataFact, ...] = ()


class GateResult(Record, frozen=True, kw_only=True):
    """One gate's verdict, with the numbers it looked at, the reason in plain words, and what to do next."""

    gate: str
    verdict: Verdict
    why: str
    todo: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    facts: tuple[str, ...] = ()


class _Held(Exception):  # not an error: carries a verdict out of a nested question
    def __init__(self, verdict: Verdict, why: str, todo: str = "") -> None:
        super().__init__(why)
        self.verdict, self.why, self.todo = verdict, why, todo


# A question to an evaluation's body: what it says of one thing, None if it does not speak of it.
_Find = Callable[[Mapping[str, object]], Mapping[str, object] | None]


class _Number(Record, frozen=True, kw_only=True):
    value: float
    low: float | None
    high: float | None
    confidence: float | None
    p: float | None


def judge(policy: Policy, target: Stage, facts: Facts) -> tuple[GateResult, ...]:
    """Give the verdict of each gate that `target` asks for, in the policy's order."""
    return tuple(_judge_one(gate, facts, policy) for gate in policy.gates(target))


def evidence_digest(policy: Policy | None, target: str, facts: Facts, results: Sequence[GateResult]) -> str:
    """Give the digest of what was decided on: policy, version, champion, and each fact's id, verdict and numbers.

    An approval binds to it: a new fact for a gate, a new champion or a new policy gives another digest.
    """
    document = {
        "policy": None if policy is None else policy.digest,
        "target": target,
        "digest": facts.digest,
        "champion": None if facts.champion is None else facts.champion.digest,
        "gates": [[each.gate, each.verdict, each.value, each.low, each.high, list(each.facts)] for each in results],
    }
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def _judge_one(gate: Gate, facts: Facts, policy: Policy) -> GateResult:
    used: list[Fact] = []
    try:
        match gate:
            case MetricGate():
                return _judge_metric(gate, facts, policy, used)
            case BetterThanChampion():
                return _judge_better(gate, facts, policy, used)
            case DataValid():
                return _judge_data(gate, facts, policy, used)
    except _Held as held:
        bound = gate.bound if isinstance(gate, MetricGate) else None
        return GateResult(gate=gate.label, verdict=held.verdict, why=held.why, todo=held.todo, bound=bound, facts=_ids(used))


def _judge_metric(gate: MetricGate, facts: Facts, policy: Policy, used: list[Fact]) -> GateResult:
    fact, entry = _newest(facts, lambda body: _find_metric(body, gate), gate.name)
    used.append(fact)
    _check_counts(fact, facts, policy)
    number = _read_number(entry, gate.name)
    end, edge = (number.low, "low") if gate.op == ">=" else (number.high, "high")
    if end is None:
        reason = entry.get("reason")
        because = f" ({reason})" if isinstance(reason, str) and reason else ""
        raise _Held(
            Verdict.MISSING, f"{gate.name} = {_short(number.value)} has no interval{because}, and its {edge} end has to hold the bound"
        )
    _check_confidence(number, policy.confidence, gate.name)
    holds = end >= gate.bound if gate.op == ">=" else end <= gate.bound
    relation = {(">=", True): "is at least", (">=", False): "is below", ("<=", True): "is at most", ("<=", False): "is above"}[
        gate.op, holds
    ]
    return GateResult(
        gate=gate.label,
        verdict=Verdict.PASS if holds else Verdict.FAIL,
        why=f"{gate.name} = {_spell(number)}: the {edge} end {_short(end)} {relation} {_short(gate.bound)}",
        todo="" if holds else f"a better model, or more test rows for a narrower interval, can bring the {edge} end over the bound",
        value=number.value,
        low=number.low,
        high=number.high,
        bound=gate.bound,
        facts=_ids(used),
    )


def _judge_better(gate: BetterThanChampion, facts: Facts, policy: Policy, used: list[Fact]) -> GateResult:
    champion = facts.champion
    if champion is None:
        return GateResult(gate=gate.label, verdict=Verdict.PASS, why="there is no champion to be better than")
    if champion.digest == facts.digest:
        return GateResult(gate=gate.label, verdict=Verdict.PASS, why=f"this is the champion itself ({champion.ref})")
    again = f'evaluate again with champion="{champion.ref}"'
    fact, entry = _newest(facts, lambda body: _find_difference(body, gate.metric), f"a difference in {gate.metric} to a champion", again)
    used.append(fact)
    measured = _table(_table(fact.body, "champion"), "").get("digest")
    if measured not in (champion.digest, f"sha256:{champion.digest}"):
        raise _Held(Verdict.STALE, f"it was compared with another model than {champion.ref}, which is the champion now", again)
    _check_counts(fact, facts, policy)
    if entry.get("higher_is_better") is gate.less_is_better:
        side = "less" if gate.less_is_better else "more"
        raise _Held(Verdict.ERROR, f"the policy says that {side} {gate.metric} is better, and the evaluation says the opposite")
    number = _read_number(entry, f"the difference in {gate.metric}")
    is_better, sure = _is_better(number, gate)
    words = "less" if gate.less_is_better else "more"
    return GateResult(
        gate=gate.label,
        verdict=Verdict.PASS if is_better else Verdict.FAIL,
        why=f"{gate.metric} differs by {_spell(number)} from {champion.ref} on the same rows, {words} is better: {sure}",
        todo="" if is_better else "a better model, or more test rows, can show it; the champion stays",
        value=number.value,
        low=number.low,
        high=number.high,
        bound=0.0,
        facts=_ids(used),
    )


def _is_better(number: _Number, gate: BetterThanChampion) -> tuple[bool, str]:
    """Decide by the interval if it is sure enough, else by p. Without either of them the question is open."""
    low, high = number.low, number.high
    value = -number.value if gate.less_is_better else number.value
    worst = (None if high is None else -high) if gate.less_is_better else low
    if worst is not None and number.confidence is not None and number.confidence >= gate.confidence - 1e-9:
        return worst > 0, f"even the worse end is {'better' if worst > 0 else 'not better'}"
    if number.p is not None and 0 <= number.p <= 1:
        is_sure = value > 0 and number.p <= 1 - gate.confidence + 1e-12
        return is_sure, f"p = {number.p:.3g} {'is' if is_sure else 'is not'} enough for confidence {gate.confidence:g}"
    raise _Held(Verdict.MISSING, f"the difference in {gate.metric} has neither p nor an interval of confidence {gate.confidence:g}")


def _judge_data(gate: DataValid, facts: Facts, policy: Policy, used: list[Fact]) -> GateResult:
    if not facts.data:
        raise _Held(
            Verdict.MISSING,
            "lineage of the training run leads to no dataset version",
            "train on a dataset version, so that its validation can be found: st.dataset(NAME, rows).check(SCHEMA)",
        )
    for each in facts.data:
        if each.validation is None:
            raise _Held(
                Verdict.MISSING, f"{each.dataset} was never validated", "check it against its schema: st.dataset(...).check(SCHEMA)"
            )
        used.append(each.validation)
        _check_age(each.validation, facts, policy)
        is_ok = each.validation.body.get("ok")
        if is_ok is False:
            raise _Held(Verdict.FAIL, f"{each.dataset} did not pass its validation", "look at the findings, mend the data, train again")
        if is_ok is not True:
            raise _Held(Verdict.ERROR, f"the validation of {each.dataset} says neither yes nor no")
    names = ", ".join(each.dataset for each in facts.data)
    return GateResult(gate=gate.label, verdict=Verdict.PASS, why=f"{names} passed", facts=_ids(used))


def _newest(facts: Facts, find: _Find, name: str, todo: str = "") -> tuple[Fact, Mapping[str, object]]:
    """Give the newest evaluation of this version that speaks of the thing, and what it says.

    One that leaves the thing out does not hide an older one that speaks of it, be that good or bad.
    """
    ours = [fact for fact in facts.evaluations if fact.subject == f"sha256:{facts.digest}"]
    for fact in sorted(ours, key=lambda fact: (fact.at_ns, fact.run), reverse=True):
        entry = find(fact.body)
        if entry is not None:
            return fact, entry
    if not ours:
        others = " (one that is here speaks of another model)" if facts.evaluations else ""
        if facts.by_strangers:
            where = "to its model nor to the experiment that it comes from"
            raise _Held(
                Verdict.MISSING,
                f"no evaluation of this version{others} counts: {facts.by_strangers} by people who may contribute neither {where}",
                todo or "let somebody evaluate it who may, or grant it: stratal grant add PERSON contributor model:MODEL",
            )
        raise _Held(Verdict.MISSING, f"no evaluation of this version{others}", todo or "evaluate it: st.evaluate(model, test, target=...)")
    near = difflib.get_close_matches(name, sorted({known for fact in ours for known in _names(fact.body)}), n=1, cutoff=0.6)
    guess = f"; did you mean {near[0]}?" if near else ""
    raise _Held(
        Verdict.MISSING,
        f"no evaluation of this version speaks of {name}{guess}",
        todo or "evaluate it with that measure, slice or attribute",
    )


def _check_counts(fact: Fact, facts: Facts, policy: Policy) -> None:
    _check_age(fact, facts, policy)
    data = _table(fact.body, "data")
    shared = data.get("rows_shared_with_training")
    if shared is None:
        reason = data.get("reason") or data.get("rows_shared_reason")
        because = f": {reason}" if isinstance(reason, str) else ""
        raise _Held(
            Verdict.MISSING,
            f"it is not known whether its test rows were trained on{because}",
            "evaluate on a part of a split that the training run recorded",
        )
    if isinstance(shared, bool) or not isinstance(shared, int) or shared < 0:
        raise _Held(Verdict.ERROR, f"rows_shared_with_training is {shared!r}, which is no count")
    if shared > 0:
        raise _Held(
            Verdict.FAIL, f"it was measured on {shared} rows that it was trained on", "evaluate on rows that the training did not see"
        )


def _check_age(fact: Fact, facts: Facts, policy: Policy) -> None:
    if policy.evidence_max_age_s is None:
        return
    age_s = (facts.now_ns - fact.at_ns) // SECOND_NS
    if age_s > policy.evidence_max_age_s:
        raise _Held(
            Verdict.STALE, f"the fact is {age_s} s old, and the policy allows {policy.evidence_max_age_s} s", "evaluate or validate again"
        )


def _check_confidence(number: _Number, needed: float, name: str) -> None:
    if number.confidence is None:
        raise _Held(Verdict.MISSING, f"the interval of {name} does not say its confidence")
    if number.confidence < needed - 1e-9:
        raise _Held(Verdict.MISSING, f"the interval of {name} has confidence {number.confidence:g}, and the policy asks for {needed:g}")


def _find_metric(body: Mapping[str, object], gate: MetricGate) -> Mapping[str, object] | None:
    if gate.where is None:
        places = [_table(body, part) for part in ("metrics", "kpis")]
        found = [place[gate.metric] for place in places if gate.metric in place]
        if len(found) > 1:
            raise _Held(Verdict.ERROR, f"{gate.metric} is both a metric and a KPI of this evaluation", "give the KPI another name")
        return _table(found[0], "") if found else None
    if "=" in gate.where:
        of_slice = _table(body, "slices").get(gate.where)
        entry = None if of_slice is None else _table(of_slice, "").get(gate.metric)
    else:
        entry = _table(body, "fairness").get(gate.name)
    return None if entry is None else _table(entry, "")


def _find_difference(body: Mapping[str, object], metric: str) -> Mapping[str, object] | None:
    champion = body.get("champion")
    if champion is None:
        return None
    entry = _table(_table(champion, ""), "difference").get(metric)
    return None if entry is None else _table(entry, "")


def _names(body: Mapping[str, object]) -> Iterator[str]:
    for part in ("metrics", "kpis", "fairness"):
        yield from _table(body, part)
    for where, entries in _table(body, "slices").items():
        for metric in _table(entries, ""):
            yield f"{metric}[{where}]"


def _table(holder: object, key: str) -> Mapping[str, object]:
    """Give the table under `key` ("" = the holder itself; a table that is not there is empty). Anything else is an error."""
    found = holder if key == "" or not isinstance(holder, Mapping) else holder.get(key)
    if found is None and key != "":
        return {}
    if not isinstance(found, Mapping):
        raise _Held(Verdict.ERROR, f"the evaluation is not readable: {key or 'an entry'} is not a table")
    return found


def _read_number(entry: Mapping[str, object], name: str) -> _Number:
    value = _finite(entry.get("value"), name)
    if value is None:
        reason = entry.get("reason")
        raise _Held(Verdict.MISSING, f"{name} is undefined{f': {reason}' if isinstance(reason, str) and reason else ''}")
    low, high = _finite(entry.get("low"), f"the low end of {name}"), _finite(entry.get("high"), f"the high end of {name}")
    # The slack is for the rounding of separately computed ends.
    slack = 1e-9 * max(1.0, abs(value))
    if (low is not None and low > value + slack) or (high is not None and high < value - slack):
        raise _Held(Verdict.ERROR, f"the interval of {name} does not hold its own value")
    confidence, p = _finite(entry.get("confidence"), "confidence"), _finite(entry.get("p"), "p")
    return _Number(value=value, low=low, high=high, confidence=confidence, p=p)


def _finite(value: object, name: str) -> float | None:
    """Read a number; None stays None. NaN and infinities are no numbers to decide on."""
    if value is None:
        return None
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        value = number_from_json(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Held(Verdict.ERROR, f"{name} is {value!r}, which is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Held(Verdict.MISSING, f"{name} is {value}, which says nothing")
    return number


def _spell(number: _Number) -> str:
    if number.low is None or number.high is None:
        return _short(number.value)
    return f"{_short(number.value)} [{_short(number.low)}, {_short(number.high)}]"


def _short(value: float) -> str:
    """Write a number as people read it: 0.8445, 44,760."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _ids(used: Sequence[Fact]) -> tuple[str, ...]:
    return tuple(fact.id for fact in used)
