"""The online store and parity: what is served is what the frame held, and a difference is found."""

import datetime as dt
import math
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sqlalchemy import update

from stratal.core.errors import Misuse, NotFound
from stratal.features import FeatureStore, feature_view
from stratal.features.online import OnlineReader, materialise
from stratal.features.rows import Computation, same_value
from stratal.features.tables import feature_row
from stratal.testing.stages import behind_server
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run

ROWS = pl.DataFrame(
    {
        "customer_id": [f"C{i:04}" for i in range(50)],
        "tenure": [i % 7 for i in range(50)],
        "spent": [None if i % 5 == 0 else math.nan if i % 5 == 1 else i * 1.1 for i in range(50)],
        "plan": pl.Series(["a", None, "b", "a", "c"] * 10, dtype=pl.Categorical),
        "since": [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(50)],
    }
)
CUSTOMER = feature_view(
    "customer",
    source="dataset:churn",
    entity="customer_id",
    features={"tenure": pl.col("tenure"), "rate": pl.col("spent") / pl.col("tenure"), "plan": pl.col("plan"), "since": pl.col("since")},
)


@pytest.fixture
def store(store, seen):
    """All of this page runs over both ways; behind one URL lies another store for each test."""
    return seen(store)


def test_what_is_remembered_of_a_url_is_of_the_store_that_was_asked(stage, fresh_store, tmp_path):
    served = []
    for name in ("one", "other"):
        here = fresh_store()
        with behind_server(here, *stage, tmp_path / name) as far:
            CUSTOMER.materialise(ROWS if name == "one" else ROWS.head(2), store=far)
            served.append([CUSTOMER.online(key, store=far)["tenure"] for key in ("C0000", "C0001")])
            assert FeatureStore(here).materialisation(name="customer", version=1) is not None
    assert served == [[0, 1], [0, 1]]
    with behind_server(fresh_store(), *stage, tmp_path / "empty") as far, pytest.raises(NotFound, match="is not materialised"):
        CUSTOMER.online("C0000", store=far)


def test_a_lookup_at_a_server_is_one_request(stage, fresh_store, tmp_path, monkeypatch):
    with behind_server(fresh_store(), *stage, tmp_path / "state") as far:
        CUSTOMER.materialise(ROWS, store=far)
        CUSTOMER.online("C0000", store=far)  # the first one asks for the layout, too
        asked, handler = [], stage[0].handler

        async def counted(scope, receive, send):
            asked.append(scope["path"])
            await handler(scope, receive, send)

        monkeypatch.setattr(stage[0], "handler", counted)
        for key in ("C0001", "C0002", "C0003"):
            CUSTOMER.online(key, store=far)
        assert [path for path in asked if path.startswith("/api/")] == ["/api/v1/features/served_row"] * 3


def test_a_row_online_is_the_row_of_the_frame(store):
    use_store(store)
    done = CUSTOMER.materialise(ROWS)
    assert done.rows == 50 and done.data.startswith("sha256:")
    for row in CUSTOMER.frame(ROWS).to_polars().iter_rows(named=True):
        entity = row.pop("customer_id")
        served = CUSTOMER.online(entity)
        assert list(served) == list(row)
        assert all(same_value(served[name], value) for name, value in row.items())
    assert [row["since"] for row in CUSTOMER.reader().get_many(["C0003", "C0001"])] == [dt.date(2020, 1, 4), dt.date(2020, 1, 2)]


TYPES = {
    "i": (pl.Int64, some.integers(-(2**63), 2**63 - 1)),
    "u": (pl.UInt64, some.integers(0, 2**64 - 1)),
    "f": (pl.Float64, some.floats()),
    "g": (pl.Float32, some.floats(width=32)),
    "b": (pl.Boolean, some.booleans()),
    "s": (pl.String, some.text(max_size=4)),
    "c": (pl.Categorical, some.text(max_size=2)),
    "e": (pl.Enum(["a", "b"]), some.sampled_from(["a", "b"])),
    "d": (pl.Date, some.dates()),
    "t": (pl.Datetime("us"), some.datetimes()),
    "z": (pl.Datetime("ms", "Europe/Rome"), some.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1), timezones=some.just(dt.UTC))),
    "n": (pl.Datetime("ns"), some.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1))),
    "w": (pl.Duration("us"), some.timedeltas(dt.timedelta(-1000), dt.timedelta(1000))),
    "o": (pl.Time, some.times()),
}


@pytest.mark.slow
def test_values_of_all_types_come_back_as_polars_gives_them(store):
    rooms = FeatureStore(store)
    view = feature_view("all", source="dataset:x", entity="id", features={name: pl.col(name) for name in TYPES})
    version = view.version(store=store)

    @settings(max_examples=40)
    @given(
        some.lists(
            some.fixed_dictionaries({name: some.one_of(some.none(), values) for name, (_, values) in TYPES.items()}), min_size=1, max_size=3
        )
    )
    def check(rows):
        schema = {"id": pl.Int64, **{name: kind for name, (kind, _) in TYPES.items()}}
        frame = pl.DataFrame([{"id": i, **row} for i, row in enumerate(rows)], schema=schema)
        materialise(rooms, version, Computation.of(view.definition), frame, "test")
        reader = OnlineReader(rooms, version, "id")
        for i, row in enumerate(frame.drop("id").iter_rows(named=True)):
            served = reader.get(i)
            assert all(same_value(served[name], value) for name, value in row.items()), (served, row)

    check()


def test_materialising_again_replaces_all_rows_and_readers_follow(store):
    use_store(store)
    CUSTOMER.materialise(ROWS)
    reader = CUSTOMER.reader()
    assert reader.get("C0001")["tenure"] == 1
    CUSTOMER.materialise(ROWS[:2].with_columns(tenure=pl.col("tenure").cast(pl.Float64) + 0.5))
    assert reader.get("C0001")["tenure"] == 1.5
    with pytest.raises(NotFound, match=r"no row for customer_id = 'C0003'[\s\S]*with 2 rows"):
        reader.get("C0003")


def test_a_new_definition_has_rows_of_its_own(store):
    use_store(store)
    CUSTOMER.materialise(ROWS)
    changed = feature_view("customer", source="dataset:churn", entity="customer_id", features={"tenure": pl.col("tenure") + 100})
    with pytest.raises(NotFound, match="features:customer@2 is not materialised"):
        changed.online("C0001")
    changed.materialise(ROWS)
    assert (changed.online("C0001")["tenure"], CUSTOMER.online("C0001")["tenure"]) == (101, 1)


def test_whole_numbers_and_texts_are_entities_and_never_taken_for_each_other(store):
    use_store(store)
    view = feature_view("account", source="dataset:x", entity="id", features={"n": pl.col("n")})
    view.materialise(pl.DataFrame({"id": [7, 8], "n": [1, 2]}))
    assert view.online(7) == {"n": 1}
    with pytest.raises(Misuse, match="'id' is int64"):
        view.online("7")
    with pytest.raises(Misuse, match="cannot name an entity"):
        view.online(7.0)
    with pytest.raises(Misuse, match="cannot name an entity"):
        view.online(True)


def test_a_failed_materialisation_changes_nothing(store):
    use_store(store)
    CUSTOMER.materialise(ROWS)
    with pytest.raises(Misuse, match="is in 2 rows"):
        CUSTOMER.materialise(pl.concat([ROWS, ROWS[:1]]).with_columns(tenure=pl.lit(99)))
    assert CUSTOMER.online("C0001")["tenure"] == 1


def test_readers_see_old_rows_or_new_ones_and_never_none(store):
    """One thread replaces all rows again and again; the other must always find the row, of a whole materialisation."""
    use_store(store)
    CUSTOMER.materialise(ROWS.with_columns(tenure=pl.lit(0)))
    reader, stop = CUSTOMER.reader(), threading.Event()

    def replace():
        try:
            for i in range(1, 11):
                CUSTOMER.materialise(ROWS.with_columns(tenure=pl.lit(i)), store=store)
        finally:
            stop.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = []
    while not stop.is_set():
        seen.append(reader.get("C0001")["tenure"])
    writer.join()
    assert seen == sorted(seen) and set(seen) <= set(range(11))
    assert reader.get("C0001")["tenure"] == 10


@pytest.mark.slow
def test_another_process_serves_the_same_row(store):
    CUSTOMER.materialise(ROWS, store=store)
    code = (
        "import sys; from stratal.features import FeatureStore, view_of; from stratal.tracking.opening import open_store\n"
        "store = open_store(sys.argv[1]); view = view_of(FeatureStore(store).find(name='customer'))\n"
        "print(view.online('C0002', store=store))"
    )
    done = subprocess.run([sys.executable, "-c", code, store.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(CUSTOMER.online("C0002", store=store))


def test_a_raw_row_is_computed_as_the_frame_would(store):
    use_store(store)
    CUSTOMER.materialise(ROWS)
    row = {"customer_id": "new", "tenure": 2, "spent": 3, "plan": "never seen", "since": dt.date(2021, 5, 5)}
    assert CUSTOMER.row(row) == {"tenure": 2, "rate": 1.5, "plan": "never seen", "since": dt.date(2021, 5, 5)}
    assert CUSTOMER.row({**row, "tenure": math.nan, "spent": None})["tenure"] is None
    assert CUSTOMER.row({**row, "tenure": None, "plan": None})["plan"] is None
    with pytest.raises(Misuse, match="'tenure' is int64 in the source, and 'two' is not"):
        CUSTOMER.row({**row, "tenure": "two"})
    with pytest.raises(Misuse, match="missing: spent"):
        CUSTOMER.row({"customer_id": "new", "tenure": 2, "plan": None, "since": None})


def test_parity_holds_for_what_was_materialised(store):
    use_store(store)
    CUSTOMER.materialise(ROWS)
    outcome = CUSTOMER.parity(ROWS, sample=30)
    assert outcome.ok and (outcome.sampled, outcome.equal) == (30, 30)
    assert str(outcome) == "features:customer@1: online = offline for 30 of 30"
    assert CUSTOMER.parity(ROWS).sampled == 50


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_parity_finds_one_changed_value_among_all(store):
    """Proof that values are compared: one packed row is written over behind the room's back."""
    use_store(store)
    CUSTOMER.materialise(ROWS)
    with store.command() as tx:
        body = tx.value(feature_row.select().with_only_columns(feature_row.c.body).where(feature_row.c.entity == "C0004"))
        tx.run(update(feature_row).where(feature_row.c.entity == "C0004").values(body=bytes([*body[:1], body[1] + 1, *body[2:]])))
    outcome = CUSTOMER.parity(ROWS)
    assert not outcome.ok and (outcome.sampled, outcome.equal) == (50, 49)
    (mismatch,) = outcome.mismatches
    assert (mismatch.entity, mismatch.feature, mismatch.way, mismatch.in_frame, mismatch.there) == ("C0004", "tenure", "online", 4, 5)
    assert "tenure of C0004 is 4 in the frame and 5 by online" in str(outcome)


def test_parity_finds_rows_that_are_old_or_absent(store):
    use_store(store)
    CUSTOMER.materialise(ROWS[:40])
    changed = ROWS.with_columns(tenure=pl.when(pl.col("customer_id") == "C0002").then(99).otherwise(pl.col("tenure")))
    outcome = CUSTOMER.parity(changed)
    assert (outcome.sampled, outcome.equal, len(outcome.missing)) == (50, 39, 10)
    assert {(found.entity, found.feature, found.in_frame, found.there) for found in outcome.mismatches if found.feature == "tenure"} == {
        ("C0002", "tenure", 99, 2)
    }


def test_parity_finds_a_computation_that_is_not_the_same_on_one_row(store):
    """As if a row alone gave something else: the view's own expressions are exchanged after it was materialised."""
    use_store(store)
    view = feature_view("v", source="s", entity="customer_id", features={"tenure": pl.col("tenure")})
    view.materialise(ROWS)
    view.__dict__["_computation"] = Computation(view.definition, ((pl.col("tenure") - pl.col("tenure").min()).alias("tenure"),))
    outcome = view.parity(ROWS)
    assert not outcome.ok
    assert {found.way for found in outcome.mismatches} == {"row"}


def test_parity_needs_rows(store):
    use_store(store)
    with pytest.raises(NotFound, match="is not materialised"):
        CUSTOMER.parity(ROWS)
    CUSTOMER.materialise(ROWS)
    assert not CUSTOMER.parity(ROWS.clear()).ok


def test_inside_a_run_materialisation_and_parity_are_recorded(store):
    use_store(store)
    with run("churn") as current:
        CUSTOMER.materialise(ROWS)
        CUSTOMER.parity(ROWS, sample=10)
    read = get_run(current.id)
    assert ("used", "features:customer@1", "online") in {(edge.verb, edge.target, edge.role) for edge in read.edges}
    (written,) = read.statements("materialisation")
    assert written.subject == "features:customer@1" and written.body["rows"] == 50
    (statement,) = read.statements("parity")
    assert statement.subject == "features:customer@1"
    assert statement.body == {"ok": True, "sampled": 10, "equal": 10, "missing": 0, "mismatches": 0}


@pytest.mark.slow
def test_a_served_row_goes_into_a_model_as_the_frame_did(store):
    from sklearn.ensemble import HistGradientBoostingClassifier

    from stratal.tracking.models import load_model, log_model

    use_store(store)
    features = feature_view(
        "m", source="s", entity="customer_id", features={"tenure": pl.col("tenure"), "spent": pl.col("spent"), "plan": pl.col("plan")}
    )
    frame = features.frame(ROWS).to_polars().drop("customer_id")
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, categorical_features="from_dtype").fit(frame, ROWS["tenure"] > 3)
    with run("churn") as current:
        handle = log_model(current, "model", model, features=features, sample=frame)
    features.materialise(ROWS)
    back = load_model(handle, store)
    assert handle.features == "features:m@1"
    served = [back.scores(features.online(entity))[0] for entity in ROWS["customer_id"][:8]]
    np.testing.assert_array_equal(served, model.predict_proba(frame)[:8, 1])
