"""Saved views: kept, used, replaced, removed, refused."""

import pytest

from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.runs import run
from stratal.tracking.views import remove_view, save_view, view, views


def test_a_view_asks_what_it_was_saved_with(store: Store) -> None:
    for number in range(4):
        run("churn" if number else "digits", name=f"r{number}", params={"n": number}, store=store).finish()

    saved = save_view("late", "params.n > 0", experiment="churn", order_by="params.n desc", select="name, params.n", limit=2, store=store)
    assert view("late", store=store) == saved
    assert (saved.author, saved.query.select) == ("tester", ("name, params.n",))
    assert [found.name for found in saved.runs(store=store)] == ["r3", "r2"]
    assert [tuple(row.values()) for row in saved.table(limit=3, store=store)] == [("r3", 3), ("r2", 2), ("r1", 1)]


def test_a_view_of_the_same_name_is_replaced_and_one_can_be_removed(store: Store) -> None:
    save_view("a", "status = 'failed'", store=store)
    save_view("b", store=store)
    save_view("a", "status = 'lost'", store=store)
    assert [(each.name, each.query.where) for each in views(store=store)] == [("a", "status = 'lost'"), ("b", "")]

    remove_view("a", store=store)

    assert [each.name for each in views(store=store)] == ["b"]
    with pytest.raises(NotFound, match="saved are: b"):
        view("a", store=store)
    with pytest.raises(NotFound):
        remove_view("a", store=store)


@pytest.mark.parametrize(
    "wrong", [{"where": "params."}, {"order_by": "name down"}, {"select": "params.a b"}, {"limit": 0}, {"name": ""}], ids=str
)
def test_a_view_that_could_not_be_read_is_refused(store: Store, wrong: dict) -> None:
    with pytest.raises(Misuse):
        save_view(**{"name": "v", **wrong}, store=store)
    assert views(store=store) == []
