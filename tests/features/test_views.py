"""Views in a store: versions by digest, frames of features, and splits that evaluation can look up."""

import pickle
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stratal.core.errors import Misuse, NotFound
from stratal.core.people import Identity, acting_as
from stratal.core.places import place_of
from stratal.features import FeatureStore, NotSeparable, feature_view, view_of
from stratal.features.splitting import split_by
from stratal.store.operations import operations_of
from stratal.tracking.doctor import doctor
from stratal.tracking.frames import frame_digest, frame_from_bytes
from stratal.tracking.opening import use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.statements import find_statements

ROWS = pl.DataFrame(
    {
        "customer_id": [f"C{i:04}" for i in range(200)],
        "tenure": [i % 60 for i in range(200)],
        "total_charges": [None if i % 60 == 0 else i * 1.5 for i in range(200)],
        "contract": ["One year", "Two year", None, "Month-to-month"] * 50,
        "gender": ["f", "m"] * 100,
        "churn": [i % 4 == 0 for i in range(200)],
    }
)
FEATURES = {"tenure": pl.col("tenure"), "contract": pl.col("contract"), "paid": pl.col("total_charges") / pl.col("tenure").clip(1)}


@pytest.fixture
def store(store, seen, monkeypatch: pytest.MonkeyPatch):
    """All of this page runs over both ways. What is remembered of a URL is forgotten: another store is served there."""
    for cache in ("_versions", "_readers"):
        monkeypatch.setattr(f"stratal.features.view.{cache}", {})
    return seen(store)


def customer(**changes):
    return feature_view("customer", **{"source": "dataset:churn", "entity": "customer_id", "features": FEATURES, **changes})


class Handle:
    """A dataset version, as far as features see one."""

    ref = "dataset:churn@3"

    def frame(self):
        return ROWS


def test_a_definition_has_one_version_however_often_it_is_registered(store):
    use_store(store)
    assert customer().ref() == "features:customer@1"
    assert customer().ref(store=store) == "features:customer@1"
    changed = customer(features={**FEATURES, "gender": pl.col("gender")})
    assert changed.ref() == "features:customer@2"
    assert customer().ref() == "features:customer@1"
    rooms = FeatureStore(store)
    assert [version.version for version in rooms.versions(name="customer")] == [1, 2]
    assert rooms.register(name="customer", definition=customer().definition.encode()).version == 1


def test_versions_are_numbered_per_view_and_found_by_number_and_digest(store):
    rooms = FeatureStore(store)
    other = feature_view("account", source="dataset:churn", entity="customer_id", features={"tenure": pl.col("tenure")})
    with acting_as(Identity(name="ann")):
        customer().version(store=store)
        second = customer(entity="gender").version(store=store)
        other.version(store=store)
    assert [(version.name, version.version) for version in rooms.views()] == [("account", 1), ("customer", 2)]
    assert (
        rooms.find(name="customer") == rooms.find(name="customer", version=2) == rooms.find(name="customer", digest=second.digest) == second
    )
    assert second.author == "ann" and second.ref == "features:customer@2"
    with pytest.raises(NotFound, match=r"no version 7[\s\S]*it has: 1, 2"):
        rooms.find(name="customer", version=7)
    with pytest.raises(NotFound, match=r"no feature view 'costumer'[\s\S]*account, customer"):
        rooms.find(name="costumer")


def test_a_name_cannot_be_registered_with_another_views_definition(store):
    with pytest.raises(Misuse, match="speaks of 'customer'"):
        FeatureStore(store).register(name="other", definition=customer().definition.encode())


def test_operations_can_cross_a_wire():
    assert set(operations_of(FeatureStore)) == {"register", "views", "versions", "find", "replace_rows", "materialisation", "served_row"}


def test_a_stored_view_is_the_same_view(store):
    back = view_of(customer().version(store=store))
    assert back == customer() and hash(back) == hash(customer())
    assert back.frame(ROWS).to_polars().equals(customer().frame(ROWS).to_polars())
    assert pickle.loads(pickle.dumps(back)) == back
    assert pickle.dumps(customer()) == pickle.dumps(customer())


def test_a_view_shows_itself_shortly():
    view = feature_view("v", source="dataset:x", entity="id", features={"f": pl.col("n") + 1})
    assert repr(view) == """<FeatureView 'v' of dataset:x by id: f = (col("n") Plus 1)>"""


@pytest.mark.slow
def test_another_process_gives_the_same_digest():
    code = (
        "import polars as pl; from stratal.features import feature_view as v\n"
        "print(v('customer', source='dataset:churn', entity='customer_id', features={'tenure': pl.col('tenure'), "
        "'contract': pl.col('contract'), 'paid': pl.col('total_charges') / pl.col('tenure').clip(1)}).digest)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == customer().digest


def test_a_frame_has_entity_features_kept_columns_and_label():
    made = customer().frame(ROWS, label="churn", keep=["gender", "contract", "customer_id"])
    assert made.columns == ["customer_id", "tenure", "contract", "paid", "gender", "churn"]
    assert (made.entity, made.features, made.kept, made.label) == ("customer_id", ("tenure", "contract", "paid"), ("gender",), "churn")
    assert len(made) == 200
    assert made.to_polars()["paid"].to_list() == (ROWS["total_charges"] / ROWS["tenure"].clip(1)).to_list()


def test_what_cannot_be_a_frame_is_refused_in_plain_words():
    view = customer()
    with pytest.raises(Misuse, match=r"missing: total_charges[\s\S]*'total_charge'"):
        view.frame(ROWS.rename({"total_charges": "total_charge"}))
    with pytest.raises(Misuse, match="no column churned"):
        view.frame(ROWS, label="churned")
    with pytest.raises(Misuse, match="read by the features"):
        view.frame(ROWS, label="tenure")
    with pytest.raises(Misuse, match="read by the features"):
        view.frame(ROWS, label="total_charges")
    with pytest.raises(Misuse, match=r"'C0003' is in 2 rows"):
        view.frame(pl.concat([ROWS, ROWS[3:4]]))
    with pytest.raises(Misuse, match="1 rows have no 'customer_id'"):
        view.frame(ROWS.with_columns(pl.when(pl.col("tenure") != 59).then("customer_id").alias("customer_id"))[:60])
    with pytest.raises(Misuse, match="'customer_id' of 'customer' is float64"):
        view.frame(ROWS.with_columns(customer_id=pl.col("tenure") + 0.5))
    with pytest.raises(Misuse, match="'paid' of 'customer' cannot be computed"):
        view.frame(ROWS.with_columns(total_charges=pl.lit("much")))
    with pytest.raises(Misuse, match="a column to keep, and they differ"):
        customer(features={"gender": pl.col("tenure")}).frame(ROWS, keep=["gender"])
    with pytest.raises(Misuse, match=r'keep=\["gender"\]'):
        view.frame(ROWS, keep="gender")
    with pytest.raises(Misuse, match=r"'f' is list\[string\]"):
        customer(features={"f": pl.col("tags")}).frame(ROWS.with_columns(tags=pl.lit(["a"])))
    with pytest.raises(Misuse, match="not of a dict"):
        view.frame({"customer_id": ["a"]})


def test_inside_a_run_the_use_of_the_view_is_recorded(store):
    use_store(store)
    with run("churn") as current:
        customer().frame(Handle(), label="churn")
    edges = {(edge.verb, edge.target, edge.role) for edge in get_run(current.id).edges}
    assert ("used", "features:customer@1", "features") in edges


def test_a_split_keeps_every_row_once_and_no_entity_twice():
    made = customer().frame(ROWS, label="churn")
    train, test = made.split(test=0.25, by="customer_id", seed=7)
    assert type(train) is pl.DataFrame and train.columns == made.columns
    assert pl.concat([train, test]).sort("customer_id").equals(made.to_polars())
    assert 30 <= test.height <= 70  # 50 expected; the bounds are three deviations of 200 coins
    again = customer().frame(ROWS.sample(fraction=1.0, shuffle=True, seed=1), label="churn").split(test=0.25, seed=7)
    assert set(again[1]["customer_id"]) == set(test["customer_id"])
    assert set(made.split(test=0.25, seed=8)[1]["customer_id"]) != set(test["customer_id"])


def test_rows_that_come_later_move_no_other():
    view = customer()
    early, late = (view.frame(rows).split(seed=7) for rows in (ROWS[:120], ROWS))
    assert set(early[0]["customer_id"]) <= set(late[0]["customer_id"])
    assert set(early[1]["customer_id"]) <= set(late[1]["customer_id"])


def test_a_split_by_another_column_keeps_its_groups_together():
    groups = ROWS.with_columns(household=pl.col("tenure") % 40)
    train, test = customer().frame(groups, keep=["household"]).split(test=0.5, by="household", seed=1)
    assert not set(train["household"]) & set(test["household"])


@settings(max_examples=100)
@given(some.one_of(some.integers(), some.text()), some.integers(-5, 5))
def test_places_lie_in_the_unit_interval_and_depend_on_value_and_seed_only(value, seed):
    place = place_of(value, seed)
    assert 0 <= place < 1 and place == place_of(value, seed)


def test_places_are_pinned():
    """The parts of yesterday's split must be those of tomorrow's."""
    assert [round(place_of(value, 7), 12) for value in ("C0001", "C0002", 1, "1")] == PLACES


PLACES = [0.60526185766, 0.231941394147, 0.75140186498, 0.869388767875]


def test_shares_come_out_as_asked():
    many = pl.DataFrame({"id": range(20_000)})
    for share in (0.1, 0.25, 0.5):
        _, test = split_by(many, by="id", test=share, seed=3)
        assert abs(test.height / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"test": 0.0}, "no share"),
        ({"test": 1.0}, "no share"),
        ({"by": "nothing"}, "no column 'nothing'"),
        ({"by": "contract"}, "50 rows have no 'contract'"),
        ({"by": "gender", "test": 1e-9}, "leaves 200 for training and 0 for the test"),
    ],
)
def test_splits_that_cannot_be_are_refused(arguments, named):
    with pytest.raises(Misuse, match=named):
        customer().frame(ROWS, keep=["gender"]).split(**arguments)


@pytest.mark.parametrize("seen", ["here"], indirect=True)  # looks into the store itself
def test_both_parts_of_a_split_are_known_by_their_digests(store):
    use_store(store)
    with run("churn") as current:
        train, test = customer().frame(Handle(), label="churn").split(test=0.25, seed=7)
    with store.query() as tx:
        (about_test,) = find_statements(tx, kind="split", subject=f"sha256:{frame_digest(test)}")
        (about_train,) = find_statements(tx, kind="split", subject=f"sha256:{frame_digest(train)}")
    assert about_test.run == current.id and about_test.body == about_train.body
    body = about_test.body
    assert body["parts"] == {"train": frame_digest(train), "test": frame_digest(test)}
    assert (body["seed"], body["rule"], body["data"], body["view"]) == (7, "hash(customer_id) < 0.25", "dataset:churn@3", "customer")
    assert frame_from_bytes(store.blobs.read(body["blobs"]["train"])).equals(train)
    assert frame_from_bytes(store.blobs.read(body["blobs"]["test"])).equals(test)
    edges = {(edge.verb, edge.target, edge.role) for edge in get_run(current.id).edges}
    assert ("produced", f"sha256:{frame_digest(train)}", "split") in edges
    assert {check.name: check.state for check in doctor(store=store)}["files"] == "good", "the digest of a part is that of no file"


def test_outside_of_a_run_a_split_writes_nothing(store):
    use_store(store)
    customer().frame(ROWS).split(seed=7)
    assert not any(path.is_file() for path in store.folder.rglob("*") if "blobs" in path.parts)


def test_a_view_that_is_not_separable_is_not_made():
    with pytest.raises(NotSeparable, match="'share' of 'customer'"):
        customer(features={"share": pl.col("tenure") / pl.col("tenure").sum()})
