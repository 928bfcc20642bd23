"""Names, aliases and selectors. Not here: the grammar of refs, which the trunk reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.registry import registering
from stratal.registry.names import check_alias, check_model_name, folded
from stratal.registry.resolving import find_logged_model, find_version, resolve_model
from stratal.registry.store import ModelStore
from stratal.tracking.refs import parse_ref
from stratal.tracking.runs import run

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "../churn",
    "churn/../../etc",
    "/etc/passwd",
    "churn/",
    "a//b",
    "churn\n",
    "churn\x00",
    "chu\u0433n",
    "ｃhurn",
    "churn@7",
    "-rf",
    "a;b",
    "a'b",
    "churn\u202e",
    "x" * 129,
    "~",
    "C:\\x",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_model_is_refused(name):
    with pytest.raises(Misuse, match="cannot name a model"):
        check_model_name(name)


@pytest.mark.parametrize("name", ["churn", "Churn 2", "eu/churn", "a.b-c_d", "7", "x" * 128])
def test_a_plain_name_is_taken(name):
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["Churn", "CHURN", "churn", "chu-rn", "chu_rn", "chu rn"])
def test_a_name_that_would_be_mistaken_for_another_is_refused(house, name):
    registering.register("churn" if folded(name) == "churn" else "chu.rn", house.model(), store=house.store)
    if name == "churn":
        return
    with pytest.raises(Conflict, match="would be mistaken"):
        registering.register(name, house.model("b"), store=house.store)


@pytest.mark.parametrize(
    "alias",
    ["latest", "LATEST", "previous", "champion", "Champion", "production", "PRODUCTION", "Staging", "archived", "development"],
)
def test_an_alias_is_no_reserved_word_in_any_case(alias):
    with pytest.raises(Misuse, match="a word that refs read themselves"):
        check_alias(alias)


@pytest.mark.parametrize("alias", ["7", "07", "-1", "+1", "７", "", "a b", "рroduction", "a@b", "../x", "alias:x", "x" * 65, "a\n"])
def test_a_hostile_alias_is_refused(alias):
    with pytest.raises(Misuse, match="cannot be an alias"):
        check_alias(alias)


@given(st.text(max_size=20))
def test_whatever_is_taken_as_an_alias_is_read_as_one(text):
    try:
        check_alias(text)
    except Misuse:
        return
    assert text.isascii() and text.isprintable() and text[0].isalpha() and "@" not in text and ":" not in text


@pytest.fixture
def three(house):
    for seed in "abc":
        registering.register("churn", house.model(seed), store=house.store)
    registering.promote("model:churn@1", "Production", store=house.store)
    registering.promote("model:churn@2", "Staging", store=house.store)
    return house


@pytest.mark.parametrize(
    ("selector", "number"),
    [
        ("1", 1),
        ("3", 3),
        ("latest", 3),
        ("Latest", 3),
        ("previous", 2),
        ("champion", 1),
        ("production", 1),
        ("Production", 1),
        ("STAGING", 2),
        ("development", 3),
        ("canary", 2),
        ("alias:canary", 2),
    ],
)
def test_a_selector_names_a_version(three, selector, number):
    registering.alias("churn", "canary", "model:churn@2", store=three.store)
    assert ModelStore(three.store).find(name="churn", selector=selector).number == number


@pytest.mark.parametrize("selector", ["0", "4", "99999999999", "archived", "nobody", "alias:latest", "Canary"])
def test_a_selector_that_names_nobody_is_not_found(three, selector):
    registering.alias("churn", "canary", 2, store=three.store)
    with pytest.raises(NotFound):
        ModelStore(three.store).find(name="churn", selector=selector)


def test_an_ambiguous_selector_lists_the_candidates(three):
    registering.promote("model:churn@3", "Staging", store=three.store)
    with pytest.raises(Misuse) as caught:
        find_version(ModelStore(three.store), "model:churn@staging")
    assert caught.value.hint == "name one of: model:churn@3, model:churn@2"


def test_an_unknown_model_is_answered_with_the_nearest(three):
    with pytest.raises(NotFound) as caught:
        find_version(ModelStore(three.store), "chrun")
    assert caught.value.hint == "did you mean model:churn?"


def test_an_alias_moves_and_goes_and_each_is_logged(three):
    models = ModelStore(three.store)
    registering.alias("churn", "canary", 2, store=three.store)
    registering.alias("churn", "canary", 2, store=three.store)
    registering.alias("churn", "canary", "model:churn@3", store=three.store)
    assert models.aliases(name="churn") == {"canary": 3}
    assert (models.drop_alias(name="churn", alias="canary"), models.drop_alias(name="churn", alias="canary")) == (True, False)
    assert [entry.action for entry in models.history(name="churn")].count("alias") == 3
    assert models.verify_audit().is_sound


def test_an_alias_names_a_version_of_its_own_model(three):
    registering.register("other", three.model("z"), store=three.store)
    with pytest.raises(Misuse, match="no version of model:churn"):
        registering.alias("churn", "canary", "model:other@1", store=three.store)
    with pytest.raises(NotFound):
        registering.alias("churn", "canary", 9, store=three.store)


def test_a_ref_resolves_to_the_handle_and_stays_what_it_was(three):
    resolved = resolve_model(parse_ref("model:churn@production"), three.store)
    assert (str(resolved.ref), resolved.digest) == ("model:churn@1", three.model("a").digest)
    assert resolved.value.path == "model"
    by_content = resolve_model(parse_ref(f"model:churn@sha256:{resolved.digest}"), three.store)
    assert by_content == resolved


@pytest.mark.parametrize("ref", ["dataset:churn@7", "run:abcdef12", "model:", "", "model:churn@"])
def test_what_is_no_ref_of_a_model_is_refused(three, ref):
    with pytest.raises(Misuse):
        find_version(ModelStore(three.store), ref)


def test_a_run_names_the_model_that_it_logged(house):
    with run("churn", store=house.store) as training:
        logged = log_twice(house, training)
    with pytest.raises(Misuse) as caught:
        find_logged_model(house.store, f"run:{training.id}")
    assert caught.value.hint.endswith(f"artifact:{training.id[-8:]}/one, artifact:{training.id[-8:]}/two")
    assert find_logged_model(house.store, f"artifact:{training.id}/two").digest == logged["two"]
    with pytest.raises(NotFound, match="holds no model"):
        find_logged_model(house.store, f"artifact:{training.id}/three")
    with pytest.raises(NotFound, match="holds no model"):
        find_logged_model(house.store, house.model().run)


def log_twice(house, training):
    digests = {}
    for path in ("one", "two"):
        digests[path] = house.model(path).digest
        training.state("model", {"path": path, "flavor": "sklearn", "features": None}, subject=f"sha256:{digests[path]}")
    return digests
