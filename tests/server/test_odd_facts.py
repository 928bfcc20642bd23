"""Facts that no writer of ours writes, sent to a server: refused or kept, never a failure of ours, and all can still be read.

Excludes frames that are none (test_ingest). Each fact is built after its own record, with values of any kind in any place.
"""

import msgspec
import pytest
import rights_of_operations as operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow_wire import Wire

from stratal.core.ids import new_id, to_bytes
from stratal.store.frames import FACT, encode_fact, pack, salt_of
from stratal.tracking.facts import BODIES, START
from stratal.tracking.reading import get_run

ODD = (
    "", "\0", "a\0b", "a\nb", "x" * 600, "../..", "/a", "0" * 32, "a" * 64, "ab", "a b", "NaN", "1e400", "sha256:", "run:",
    "sha256:" + "a" * 64, "model:churn@1", "dataset:d@1", "artifact:" + "0" * 32 + "/x", "running", "finished", "lost", "last",
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(ODD))
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(), st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63]))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def like(wanted: msgspec.inspect.Type) -> st.SearchStrategy[object]:
    """Values of a type, odd ones, and sometimes of another."""
    match wanted:
        case msgspec.inspect.StructType():
            needed = {field.name: like(field.type) for field in wanted.fields if field.required}
            rest = {field.name: like(field.type) for field in wanted.fields if not field.required}
            right: st.SearchStrategy[object] = st.fixed_dictionaries(needed, optional=rest)
        case msgspec.inspect.ListType():
            right = st.lists(like(wanted.item_type), max_size=3)
        case msgspec.inspect.DictType():
            right = st.dictionaries(TEXTS, like(wanted.value_type), max_size=3)
        case msgspec.inspect.UnionType():
            right = st.one_of([like(one) for one in wanted.types])
        case msgspec.inspect.StrType():
            return st.one_of(TEXTS, TEXTS, TEXTS, ANYTHING)
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return st.one_of(NUMBERS, NUMBERS, ANYTHING)
        case _:
            return ANYTHING
    return st.one_of(right, right, right, right, ANYTHING)


KINDS = {what: like(msgspec.inspect.type_info(body)) for what, body in BODIES.items()}
FACTS = st.one_of([st.tuples(st.just(what), st.integers(-(2**63), 2**63 - 1), value) for what, value in KINDS.items()])
GOOD = (START, 1, {"experiment": "team", "name": "n", "params": {"a": 1.5}, "tags": {"t": "u"}})
READS = [path for path, who in operations.ROWS.items() if who == "anybody"]


@pytest.fixture
def served(whole):
    wire = Wire(str(whole.http.base_url))
    yield whole, wire
    wire.http.close()


def ship(sender, run: str, facts) -> int:
    """Send facts of one run in one segment of a writer of their own."""
    name = f"{new_id()[:16]}-000000.log"
    data = b"".join(
        pack(FACT, 0, at, to_bytes(run), encode_fact(what, at_ns, value), salt_of(name)) for at, (what, at_ns, value) in enumerate(facts)
    )
    return sender.put(name, 0, data).status_code


def statuses(wire: Wire, run: str) -> dict[str, int]:
    """What every way to read says of a run."""
    found = {path: operations.ask(path, operations.routes()[path], run, wire.http).status_code for path in READS}
    found["runs/get"] = wire.get("runs/get", run_id=run).status_code
    found["artifacts/list"] = wire.get("artifacts/list", run_id=run).status_code
    found["runs/search"] = wire.post("runs/search", experiment_ids=["0", "1", "2", "3", "4", "5"], max_results=1000).status_code
    found["logged-models/search"] = wire.post("logged-models/search", experiment_ids=["0", "1", "2"]).status_code
    found["experiments/search"] = wire.post("experiments/search", max_results=1000).status_code
    return found


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(facts=st.lists(FACTS, min_size=1, max_size=4), is_good_first=st.booleans())
def test_no_fact_is_a_failure_of_ours_and_all_can_be_read(served, facts, is_good_first):
    sender, wire = served
    run = new_id()
    status = ship(sender, run, [GOOD, *facts] if is_good_first else [*facts, GOOD])
    assert status in (200, 422), status
    assert ship(sender, new_id(), [GOOD]) == 200, "others go on"
    wrong = {way: status for way, status in statuses(wire, run).items() if status >= 500}
    assert wrong == {}


@pytest.mark.parametrize("parent", ["ab", "a b", "zz", "0" * 31, "0" * 33, "\0", "x" * 600])
def test_a_parent_that_is_none_costs_a_run_only_its_parent(store, served, parent):
    sender, _ = served
    run = new_id()
    assert ship(sender, run, [(START, 1, {"experiment": "team", "parent": parent})]) == 200
    read = get_run(run, store=store)
    assert (read.experiment, read.parent) == ("team", None)
