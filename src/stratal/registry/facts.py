"""Collecting what gates may look at: evaluations of finished runs, and the datasets that lineage leads back to."""

from collections.abc import Sequence

from stratal.core.people import Role, holds
from stratal.registry.gates import Champion, DataFact, Fact, Facts
from stratal.registry.versions import Version
from stratal.store.access.rows import find_person, grants_of
from stratal.store.database import Transaction
from stratal.tracking.statements import Statement, find_statements, statements_of
from stratal.tracking.store.runs import RunRecord, edges_of, find_record, runs_at

# Kinds of statements that gates read.
EVALUATION, VALIDATION = "evaluation", "validation"
# Runs that a walk through lineage visits at most. A guess far above any pipeline; beyond it the data counts as unknown.
MOST_RUNS = 10_000


def collect(tx: Transaction, version: Version, champion: Champion | None, now_ns: int) -> Facts:
    """Gather a version's facts. Evaluations count when their run has finished, and by whom may contribute; a validation counts even if its
    run then failed."""
    stated = [each for each in find_statements(tx, kind=EVALUATION, subject=f"sha256:{version.digest}") if _has_finished(tx, each.run)]
    objects = _objects_of(tx, version)
    ours = {author for author in {each.author for each in stated} if _may_evaluate(tx, author, objects)}
    return Facts(
        digest=version.digest,
        now_ns=now_ns,
        champion=champion,
        evaluations=tuple(_fact(each) for each in stated if each.author in ours),
        by_strangers=sum(each.author not in ours for each in stated),
        data=tuple(_Walk(tx).datasets_behind(version.run)),
    )


def _objects_of(tx: Transaction, version: Version) -> list[str]:
    """Give what to contribute to lets one judge a version: its model, and the experiment that it comes from."""
    made_by = find_record(tx, version.run)
    return [f"model:{version.name}", *([f"experiment:{made_by.experiment}"] if made_by is not None else [])]


def _may_evaluate(tx: Transaction, author: str, objects: Sequence[str]) -> bool:
    """Tell whether what somebody says of a version counts. Who has no account here has the store itself: a server lets in nobody else."""
    person = find_person(tx, author)
    if person is None:
        return True
    held = () if person.is_disabled else grants_of(tx, person.name)
    return any(holds(held, person.name, Role.CONTRIBUTOR.name, on) for on in objects)


class _Walk:
    """A walk from a run back to the dataset versions that it used, over runs that made its inputs and runs it was part of."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._seen: set[str] = set()
        self._found: dict[str, DataFact] = {}
        self._by_dataset: dict[str, Statement] | None = None

    def datasets_behind(self, run_id: str) -> list[DataFact]:
        pending = [run_id]
        while pending and len(self._seen) < MOST_RUNS:
            run = pending.pop()
            if run in self._seen:
                continue
            self._seen.add(run)
            record = find_record(self._tx, run)
            if record is not None:
                pending += self._makers_of_inputs(record)
                pending += [record.parent] if record.parent is not None else []
        return [] if pending else [self._found[name] for name in sorted(self._found)]

    def _makers_of_inputs(self, record: RunRecord) -> list[str]:
        makers: list[str] = []
        for stated in statements_of(self._tx, record.id):
            makers += self._of_split(stated)
        for edge in edges_of(self._tx, record):
            if edge.verb != "used":
                continue
            if edge.target.startswith("run:"):
                makers.append(edge.target.removeprefix("run:"))
            elif edge.target.startswith("dataset:"):
                makers += self._of_dataset(edge.target)
            elif edge.target.startswith("sha256:"):
                makers += [run for run, verb, _ in runs_at(self._tx, edge.target) if verb == "produced"]
        return makers

    def _of_split(self, stated: Statement) -> list[str]:
        """A run that split a frame says what the frame was made of."""
        data = stated.body.get("data")
        return self._of_dataset(data) if stated.kind == "split" and isinstance(data, str) and data.startswith("dataset:") else []

    def _of_dataset(self, ref: str) -> list[str]:
        """Note a dataset. One that was never validated itself but made from others, as a part of a split, stands for them."""
        validation = self._validation(ref)
        if validation is None:
            makers: list[str] = [run for run, verb, _ in runs_at(self._tx, ref) if verb == "produced"]
            if any(self._used_datasets(maker) - {ref} for maker in makers):
                return makers
        self._found[ref] = DataFact(dataset=ref, validation=validation)
        return []

    def _used_datasets(self, run_id: str) -> set[str]:
        record = find_record(self._tx, run_id)
        edges = [] if record is None else edges_of(self._tx, record)
        return {edge.target for edge in edges if edge.verb == "used" and edge.target.startswith("dataset:")}

    def _validation(self, ref: str) -> Fact | None:
        """Give the newest validation of a dataset version: it is stated about the digest, and names the ref in its body."""
        if self._by_dataset is None:
            stated = sorted(find_statements(self._tx, kind=VALIDATION), key=lambda each: each.at_ns)
            self._by_dataset = {name: each for each in stated for name in (each.subject, each.body.get("dataset")) if isinstance(name, str)}
        found = self._by_dataset.get(ref)
        return None if found is None else _fact(found)


def _has_finished(tx: Transaction, run_id: str) -> bool:
    record = find_record(tx, run_id)
    return record is not None and record.status == "finished"


def _fact(stated: Statement) -> Fact:
    return Fact(run=stated.run, subject=stated.subject, at_ns=stated.at_ns, body=stated.body)
