"""Dataset versions in a real store: registering, verdicts, selectors, parts, lineage. Excludes: the rules themselves."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pandas as pd
import polars as pl
import pytest

import stratal.data as data
from stratal.core.errors import Conflict, Damaged, Misuse, NotFound, Refused
from stratal.core.people import Identity, acting_as
from stratal.data.store import DatasetStore
from stratal.data.tables import dataset_version
from stratal.store.operations import operations_of
from stratal.store.sqlite import SQLITE
from stratal.store.statements import compile_statement
from stratal.store.uses import holders_of
from stratal.tracking.frames import frame_digest
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.refs import parse_ref
from stratal.tracking.runs import run
from stratal.tracking.statements import find_statements
from stratal.tracking.values import File

GOOD = pl.DataFrame({"id": [f"C{i}" for i in range(40)], "tenure": list(range(40)), "churn": ["Yes", "No"] * 20})
SCHEMA = data.Schema(id=data.string(unique=True), tenure=data.integer(0, 120), churn=data.boolean(true="Yes", false="No"))


@pytest.fixture
def store(store, seen):
    """All of this page runs over both ways."""
    return seen(store)


def grown(n):
    return GOOD.with_columns(tenure=pl.col("tenure") + n)


def broken(n=0):
    return grown(n).with_columns(churn=pl.lit("Maybe"))


def refused(name, frame, store):
    made = data.dataset(name, frame, store=store)
    with pytest.raises(data.ValidationFailed):
        made.check(SCHEMA)
    return made


def test_versions_count_up_per_name_and_the_same_content_is_the_same_version(store, tmp_path):
    one = data.dataset("churn", GOOD, store=store)
    two = data.dataset("churn", grown(1), store=store)
    other = data.dataset("other", GOOD, store=store)
    GOOD.write_csv(tmp_path / "again.csv")
    again = data.dataset("churn", tmp_path / "again.csv", store=store)
    from_pandas = data.dataset("churn", GOOD.to_pandas(), store=store)
    assert [d.ref for d in (one, two, other)] == ["dataset:churn@1", "dataset:churn@2", "dataset:other@1"]
    assert one == again == from_pandas
    assert one.digest == frame_digest(GOOD) == other.digest
    assert (one.rows, one.columns) == (40, ("id", "tenure", "churn"))


def test_a_frame_is_read_back_from_the_store_alone(store, tmp_path):
    path = tmp_path / "churn.csv"
    GOOD.write_csv(path)
    made = data.dataset("churn", path, store=store)
    path.unlink()
    assert made.frame().equals(GOOD)
    elsewhere = open_store(store.url)
    assert data.open_dataset("dataset:churn@1", store=elsewhere).frame().equals(GOOD)
    assert data.open_dataset("churn", store=elsewhere).profile == made.profile == data.profile_frame(GOOD)
    elsewhere.close()


def test_a_file_handle_is_read_by_content_and_refused_if_it_changed(store, tmp_path):
    path = tmp_path / "churn"
    GOOD.write_parquet(path)
    handle = File(path=str(path))
    assert data.dataset("churn", handle, store=store).record.source == "churn"
    grown(1).write_parquet(path)
    with pytest.raises(Conflict, match="has changed"):
        data.dataset("churn", handle, store=store)


def test_a_check_that_passes_marks_the_version_and_types_its_frame(store):
    made = data.dataset("churn", GOOD, store=store)
    assert made.record.status == "unchecked"
    assert made.frame()["churn"].dtype == pl.String
    assert made.check(SCHEMA) is made
    assert made.record.status == "accepted"
    assert made.frame()["churn"].to_list() == [True, False] * 20
    assert made.raw().equals(GOOD)
    assert data.Schema.from_toml(made.record.verdict.schema) == SCHEMA


def test_a_check_that_fails_says_what_is_wrong_and_keeps_the_version_refused(store):
    bad = GOOD.with_columns(tenure=pl.when(pl.col("tenure") < 2).then(-5).otherwise("tenure"), churn=pl.lit("Maybe"))
    made = data.dataset("churn", bad, store=store)
    with pytest.raises(data.ValidationFailed) as caught:
        made.check(SCHEMA)
    assert caught.value.message.splitlines() == [
        "dataset:churn@1 was refused: 2 errors",
        "  ✕ tenure: 2 rows below 0, lowest -5",
        '  ✕ churn: 40 rows outside Yes, No: "Maybe"',
    ]
    assert isinstance(caught.value, Refused)
    assert pickle.loads(pickle.dumps(caught.value)).findings == caught.value.findings
    assert made.record.status == "refused"
    assert [f.count for f in made.record.verdict.findings] == [2, 40]
    assert made.frame().equals(bad)


def test_findings_below_error_do_not_refuse(store):
    made = data.dataset("churn", GOOD, store=store)
    schema = SCHEMA.replaced(tenure=data.integer(5, severity="warn"), id=data.integer(severity="info"))
    assert made.check(schema) is made
    assert [(f.severity, f.count) for f in made.record.verdict.findings] == [("warn", 5), ("info", 40)]
    assert made.frame()["id"].to_list() == GOOD["id"].to_list()  # unreadable as numbers, and so left alone


def test_validate_decides_nothing(store):
    made = data.dataset("churn", broken(), store=store)
    found = made.validate(SCHEMA)
    assert not found.ok
    assert str(found) == '✕ churn: 40 rows outside Yes, No: "Maybe"'
    assert made.record.status == "unchecked"
    assert made.validate(made.infer()).ok


def test_a_schema_may_be_a_file(store, tmp_path):
    SCHEMA.save(tmp_path / "churn.toml")
    made = data.dataset("churn", GOOD, store=store)
    assert made.check(tmp_path / "churn.toml").record.status == "accepted"


def test_refused_versions_are_passed_over_but_kept(store):
    data.dataset("churn", GOOD, store=store)
    data.dataset("churn", grown(1), store=store)
    refused("churn", broken(), store)

    def ref(text):
        return data.open_dataset(text, store=store).ref

    assert ref("dataset:churn") == ref("dataset:churn@latest") == "dataset:churn@2"
    assert ref("dataset:churn@previous") == "dataset:churn@1"
    assert ref("dataset:churn@3") == "dataset:churn@3"
    assert ref(f"dataset:churn@sha256:{frame_digest(broken())}") == "dataset:churn@3"
    refused("churn", grown(1).with_columns(churn=pl.lit("x")), store)
    data.dataset("churn", grown(2), store=store)
    assert ref("dataset:churn@latest") == "dataset:churn@5"
    assert ref("dataset:churn@previous") == "dataset:churn@2"


def test_a_refused_version_that_passes_a_later_check_counts_again(store):
    made = refused("churn", broken(), store)
    with pytest.raises(NotFound, match=r"no latest|no version"):
        data.open_dataset("churn", store=store)
    made.check(SCHEMA.replaced(churn=data.string()))
    assert data.open_dataset("churn", store=store).ref == "dataset:churn@1"


def test_previous_is_seen_from_the_version_that_is_checked(store):
    first = data.dataset("churn", GOOD, store=store)
    middle = refused("churn", grown(60).with_columns(churn=pl.lit("?")), store)
    last = data.dataset("churn", grown(120), store=store)
    schema = SCHEMA.replaced(tenure=data.integer(), churn=data.string())
    assert "does not exist yet" in str(first.validate(schema, against="dataset:churn@previous"))
    for later in (middle, last):
        found = later.validate(schema, against="dataset:churn@previous")
        drift = [f for f in found.findings if f.column == "tenure"]
        assert "shares no value" in drift[0].message
        assert found.ok
    assert "median 19 → 139" in str(last.validate(schema, against="dataset:churn@previous"))  # not the refused one between
    assert not last.validate(schema, against="dataset:churn@1", drift="error").ok


def test_a_reference_that_does_not_exist_is_said_and_refuses_nothing(store):
    made = data.dataset("churn", GOOD, store=store)
    for against in ("dataset:churn@previous", "dataset:nobody@latest", "nobody", "dataset:churn@9"):
        found = made.validate(SCHEMA, against=against)
        assert found.ok
        assert [(f.severity, f.check) for f in found.findings] == [("info", "reference")]
        assert "does not exist yet" in found.findings[0].message
    assert "the same content" in str(made.validate(SCHEMA, against="dataset:churn@latest"))
    with pytest.raises(Misuse):
        made.validate(SCHEMA, against="model:churn@1")


def test_new_identifiers_are_no_drift(store):
    data.dataset("orders", pl.DataFrame({"order": range(500)}), store=store)
    made = data.dataset("orders", pl.DataFrame({"order": range(500, 1000)}), store=store)
    assert made.validate(data.Schema(order=data.integer(unique=True)), against="dataset:orders@1").findings == ()
    assert "shares no value" in str(made.validate(data.Schema(order=data.integer()), against="dataset:orders@1"))


def test_columns_that_go_come_or_change_kind_are_drift(store):
    data.dataset("churn", GOOD.with_columns(old=1, kind=pl.col("tenure")), store=store)
    made = data.dataset("churn", GOOD.with_columns(new=1, kind=pl.lit("text")), store=store)
    found = made.validate(SCHEMA, against="dataset:churn@previous")
    assert {(f.column, f.severity): f.message for f in found.findings} == {
        ("kind", "warn"): "holds string, and integer in the reference",
        ("old", "warn"): "is gone, dataset:churn@1 has it",
        ("new", "info"): "is new, dataset:churn@1 has no such column",
    }


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_a_verdict_is_stated_on_the_active_run(store):
    with run("churn", store=store) as active:
        made = data.dataset("churn", GOOD, store=store).check(SCHEMA, against="dataset:churn@previous")
        made.frame()
    with store.query() as tx:
        (stated,) = find_statements(tx, kind="validation", subject=f"sha256:{made.digest}")
    assert stated.run == active.id
    assert stated.body["ok"] is True
    assert stated.body["dataset"] == "dataset:churn@1"
    assert stated.body["findings"][0]["severity"] == "info"
    edges = {(e.verb, e.target) for e in get_run(active.id, store=store).edges}
    assert {("produced", "dataset:churn@1"), ("used", "dataset:churn@1")} <= edges


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_a_verdict_outside_of_any_run_has_a_run_of_its_own(store):
    made = refused("churn", broken(), store)
    own = get_run(made.record.verdict.run, store=store)
    assert (own.kind, own.experiment, own.status) == ("evaluation", "data", "finished")
    with store.query() as tx:
        (stated,) = find_statements(tx, kind="validation", subject=f"sha256:{made.digest}")
    assert stated.body["ok"] is False
    assert stated.body["findings"][0]["message"] == '40 rows outside Yes, No: "Maybe"'


def test_a_run_of_another_store_is_left_alone(store, tmp_path):
    other = open_store(tmp_path / "other")
    with run("churn", store=other) as active:
        data.dataset("churn", GOOD, store=store).check(SCHEMA)
    assert not get_run(active.id, store=other).edges
    other.close()


def test_inside_a_run_its_store_is_the_default(store, tmp_path):
    use_store(tmp_path / "other")
    with run("churn", store=store):
        made = data.dataset("churn", GOOD)
        copy = pickle.loads(pickle.dumps(made))
        assert copy.frame().equals(GOOD)
        assert data.open_dataset("churn") == made
    assert DatasetStore(store).names() == ["churn"]
    assert made.frame().equals(GOOD)
    with pytest.raises(NotFound):
        data.open_dataset("churn")


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_parts_are_versions_with_parent_rule_and_the_verdict_of_the_whole(store):
    whole = data.dataset("churn", GOOD, store=store).check(SCHEMA)
    train, test = whole.split(test=0.25, by="id", seed=7)
    assert (train.ref, test.ref) == ("dataset:churn/train@1", "dataset:churn/test@1")
    assert train.rows + test.rows == 40
    assert 0 < test.rows < 25
    assert not set(train.frame()["id"]) & set(test.frame()["id"])
    assert test.record.part.parent == whole.ref
    assert (test.record.part.side, test.record.part.rule.seed) == ("test", 7)
    assert test.record.status == "accepted"
    assert test.frame()["churn"].dtype == pl.Boolean
    assert whole.split(test=0.25, by="id", seed=7) == (train, test)
    with store.query() as tx:
        (stated,) = find_statements(tx, kind="validation", subject=f"sha256:{test.digest}")
    assert (stated.body["ok"], stated.body["inherited_from"]) == (True, whole.ref)


def test_a_customer_stays_on_its_side_in_the_next_version(store):
    more = pl.concat([grown(3), GOOD.with_columns(id=pl.col("id") + "x")])
    _, test = data.dataset("churn", GOOD, store=store).split(by="id", seed=7)
    _, later = data.dataset("churn", more, store=store).split(by="id", seed=7)
    assert set(test.raw()["id"]) == {id for id in later.raw()["id"] if not id.endswith("x")}
    assert later.ref == "dataset:churn/test@2"
    assert test.record.status == "unchecked"


def test_a_refused_version_is_not_split(store):
    with pytest.raises(Refused, match="refused by its last check"):
        refused("churn", broken(), store).split(by="id", seed=7)


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_blobs_of_a_version_are_held_by_it_and_damage_is_noticed(store):
    made = data.dataset("churn", GOOD, store=store)
    record = made.record
    with store.query() as tx:
        assert holders_of(tx, record.content) == holders_of(tx, record.profile) == ["dataset:churn@1"]
    path = store.blobs.path(record.content)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged):
        made.frame()


def test_a_version_is_not_made_of_blobs_that_are_not_there(store):
    with pytest.raises(NotFound):
        DatasetStore(store).add_version(name="churn", digest="0" * 64, rows=1, columns=[], content="1" * 64, profile="2" * 64)


def test_authors_and_sources_are_kept(store, tmp_path):
    GOOD.write_csv(tmp_path / "customers.csv")
    with acting_as(Identity(name="maria")):
        data.dataset("churn", tmp_path / "customers.csv", store=store)
    data.dataset("churn", pd.DataFrame({"a": [1]}), store=store)
    found = [(v.author, v.source) for v in DatasetStore(store).versions(name="churn")]
    assert found[0] == ("maria", "customers.csv")
    assert found[1][1] == "pandas DataFrame"


@pytest.mark.parametrize("name", ["", " ", "a@b", "a\nb", "x" * 201, " churn", "\x00", "\u202e"])
def test_names_that_cannot_be_typed_or_read_back_are_refused(store, name):
    with pytest.raises(Misuse):
        data.dataset(name, GOOD, store=store)


@pytest.mark.parametrize("name", ["../../etc/passwd", "é/ü", "'; drop table run; --", "a:b", "..", "NUL", "x" * 200])
def test_odd_names_are_only_names(store, name):
    made = data.dataset(name, GOOD, store=store)
    assert data.open_dataset(f"dataset:{name}@1", store=store) == made
    assert str(parse_ref(made.ref)) == made.ref
    assert DatasetStore(store).names() == [name]


def test_odd_columns_are_only_columns(store):
    names = ["", "a b", "'; --", "é", "\n", "worst", "0", "0 worst", "path", "n", "count", "literal", "*", "^.*$"]
    frame = pl.DataFrame({name: [1, 2, 2] for name in names})
    made = data.dataset("odd", frame, store=store)
    schema = data.Schema.of({name: data.integer(2, unique=True) for name in names})
    assert [(f.column, f.check, f.count) for f in made.validate(schema).findings] == [
        (name, check, 1) for name in names for check in ("low", "unique")
    ]
    assert made.frame().equals(frame)


def test_wrong_refs_name_the_nearest_thing(store):
    data.dataset("churn", GOOD, store=store)
    with pytest.raises(NotFound, match="did you mean 'churn'"):
        data.open_dataset("dataset:chrun", store=store)
    with pytest.raises(NotFound, match="there are: 1"):
        data.open_dataset("dataset:churn@7", store=store)
    with pytest.raises(NotFound, match="no previous"):
        data.open_dataset("dataset:churn@previous", store=store)
    with pytest.raises(Misuse, match="'Production'"):
        data.open_dataset("dataset:churn@production", store=store)
    with pytest.raises(Misuse, match="'gold'"):
        data.open_dataset("dataset:churn@gold", store=store)


def test_tables_without_rows_or_columns(store):
    empty = data.dataset("empty", GOOD.clear(), store=store)
    assert empty.check(SCHEMA).frame().height == 0
    assert "no values to compare" not in str(empty.validate(SCHEMA, against="dataset:empty@latest"))
    with pytest.raises(Misuse, match="without columns"):
        data.dataset("none", pl.DataFrame(), store=store)


def test_resolving_gives_the_number_and_the_digest(store):
    made = data.dataset("churn", GOOD, store=store)
    found = data.resolve_dataset(parse_ref("dataset:churn"), store)
    assert (str(found.ref), found.digest, found.value) == ("dataset:churn@1", made.digest, made)
    with pytest.raises(Misuse):
        data.resolve_dataset(parse_ref("model:churn"), store)


def test_a_handle_travels_as_its_fields_and_reads_from_the_default_store(store):
    made = data.dataset("churn", GOOD, store=store)
    use_store(store)
    for copy in (pickle.loads(pickle.dumps(made)), msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=data.Dataset)):
        assert copy == made
        assert copy.frame().equals(GOOD)
    assert str(store.folder).encode() not in msgspec.msgpack.encode(made)


def test_many_threads_registering_get_one_version_per_content(store):
    frames = [grown(i % 4) for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda frame: data.dataset("churn", frame, store=store), frames))
    assert sorted({d.version for d in made}) == [1, 2, 3, 4]
    assert len({(d.version, d.digest) for d in made}) == 4


REGISTER = """
import sys, polars as pl
import stratal.data as data
from stratal.tracking.opening import open_store
store = open_store(sys.argv[1])
for i in range(6):
    data.dataset("churn", pl.DataFrame({"x": [i]}), store=store)
"""


@pytest.mark.slow
def test_many_processes_registering_the_same_contents_agree(store):
    workers = [subprocess.Popen([sys.executable, "-c", REGISTER, store.url]) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0] * 3
    versions = DatasetStore(store).versions(name="churn")
    assert [v.version for v in versions] == list(range(1, 7))
    assert len({v.digest for v in versions}) == 6


def test_operations_can_be_served():
    found = operations_of(DatasetStore)
    assert {name: (op.needs.name, op.on, op.is_command) for name, op in found.items()} == {
        "add_version": ("CONTRIBUTOR", "name", True),
        "judge": ("CONTRIBUTOR", "name", True),
        "delete": ("CONTRIBUTOR", "name", True),
        "restore": ("CONTRIBUTOR", "name", True),
        "purge": ("ADMIN", "name", True),
        "versions": ("VIEWER", "name", False),
        "find": ("VIEWER", "name", False),
        "find_digest": ("VIEWER", "name", False),
        "names": ("VIEWER", None, False),
    }


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_the_migrated_table_is_the_declared_one(store):
    columns = store.database.connect().execute("pragma table_info(dataset_version)").fetchall()
    declared = [(c.name, not c.nullable, c.name in ("name", "version")) for c in dataset_version.columns]
    assert [(name, bool(notnull), bool(pk)) for _, name, _, notnull, _, pk in columns] == declared
    assert compile_statement(dataset_version.select(), SQLITE).sql


def test_importing_the_room_loads_no_heavy_library():
    code = "import sys, stratal.data; print(sorted({'polars', 'pandas', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    code = "import sys, stratal.data as d; d.Schema(x=d.integer()); print('polars' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_every_public_name_is_there():
    assert {name for name in data.__all__ if getattr(data, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        data.nothing  # noqa: B018
