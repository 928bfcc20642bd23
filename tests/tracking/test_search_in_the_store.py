"""Compiled filters and orders against the meaning of the tree, over a real store. Excluded: the grammar."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, bindparam, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from stratal.core.clock import SECOND_NS, SystemClock
from stratal.core.errors import Misuse
from stratal.core.ids import new_id, to_bytes
from stratal.core.people import Identity
from stratal.core.settings import Settings
from stratal.store import statements, tables
from stratal.store.sqlite import _Driver
from stratal.store.store import Store
from stratal.tracking.facts import END, START, End, Start
from stratal.tracking.opening import open_store
from stratal.tracking.reading import ReadRun
from stratal.tracking.runs import run
from stratal.tracking.search import (
    And,
    Between,
    Compare,
    Condition,
    Contains,
    In,
    Key,
    Like,
    Not,
    Null,
    Or,
    OrderKey,
    Searchable,
    Summary,
    evaluate,
    ordered,
    parse_filter,
    parse_order,
)  # fmt: skip
from stratal.tracking.store import search
from stratal.tracking.store.dialects import among, among_listed
from stratal.tracking.store.search import MOST, count_runs, search_runs

PARAMS = ["lr", "model", "a b'\"`"]
METRICS = ["auc", "val/loss"]
TAGS = ["team", "mlflow.runName"]
WORDS = [
    "gbm",
    "GBM",
    "-1.50",
    "1e999",
    "0.1",
    "Gbm-2",
    "a*b?c[d]",
    "50%",
    "x_y",
    "Äpfel",
    "äpfel",
    "",
    "7",
    "0.5",
    "true",
    "a\nb",
    "'; drop table run; --",
]
NUMBERS = [-math.inf, -1.5, -1, 0, 0.1, 0.5, 1, 7, 1e300, math.inf]
NOW = SystemClock().now_ns()  # the journal has the machine's own clock; the runs are made within the next second
SENTENCES = ["Warm-up of 500 steps", "warmed up twice, then NaN", "größer als STRASSE", "µ_lr=0.1 (gbm)", "...", "日本語 のメモ"]
EXPERIMENTS = ["churn", "digits", "Churn"]
PATTERNS = ["%", "_", "g%", "G%", "%b%", "a*%", "%[d]", "50%", "x_y", "%Ä%", "", "___", "%'%", "?", "a\nb"]


def make_runs(store: Store, chance: random.Random, count: int) -> dict[str, dict[str, object]]:
    """Make runs, and give their params as they were logged."""
    logged: dict[str, dict[str, object]] = {}
    for _ in range(count):
        params = {name: chance.choice([*WORDS, *NUMBERS, math.nan, True, False, None]) for name in PARAMS if chance.random() < 0.7}
        made = run(
            chance.choice(EXPERIMENTS),
            name=chance.choice(["", *WORDS[:4]]),
            kind=chance.choice(["train", "trial"]),
            group=chance.choice(["", "g1"]),
            job_type=chance.choice(["", "eval", "train"]),
            params=params,
            tags={name: chance.choice(WORDS) for name in TAGS if chance.random() < 0.6},
            store=store,
        )
        logged[made.id] = params
        made.log({name: chance.choice([*NUMBERS, math.nan]) for name in METRICS if chance.random() < 0.7} or {"other": 1})
        if chance.random() < 0.5:
            made.log({"auc": chance.choice([*NUMBERS, math.nan])}, step=chance.choice([-3, 0, 5]))
        if chance.random() < 0.4:
            made.note(chance.choice(SENTENCES))
        if chance.random() < 0.2:
            made.set_tags({"team": None})
        if chance.random() < 0.7:
            made.finish(chance.choice(["finished", "failed", "stopped"]))
        else:
            made.is_open = False
    return logged


Made = tuple[Store, dict[str, dict[str, object]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    store = open_store(tmp_path_factory.mktemp("search") / ".stratal", settings=Settings(user="ada"))
    return store, make_runs(store, random.Random(11), 150)


@pytest.fixture(scope="module")
def store(made: Made) -> Store:
    return made[0]


@pytest.fixture(scope="module")
def documents(made: Made) -> list[Searchable]:
    store, logged = made
    with store.query() as tx:
        found = search_runs(tx, And(), (), limit=MOST, living=[store.writer.id]).runs
    assert {record.id for record in found} == set(logged)
    return [searchable(ReadRun(store, record), logged[record.id]) for record in found]


def searchable(read: ReadRun, params: dict[str, object]) -> Searchable:
    return Searchable(
        id=read.id, experiment=read.experiment, name=read.name or None, kind=read.kind, status=read.status, user=read.user or None,
        group=read.group or None, job_type=read.job_type or None, parent=read.parent, started_ns=read.record.started_ns,
        ended_ns=read.record.ended_ns, params=params, metrics=read.metrics, tags=read.tags,
        texts=(read.name, *(note.text for note in read.notes)),
        summaries={s.name: Summary(low=s.low, high=s.high, step=s.step, points=s.points) for s in read.summaries},
    )  # fmt: skip


texts = st.sampled_from(WORDS)
numbers = st.sampled_from(NUMBERS)
stored_keys = st.sampled_from([Key(entity="params", name=name) for name in [*PARAMS, "none"]])
metric_keys = st.sampled_from([Key(entity="metrics", name=name) for name in [*METRICS, "none"]])
part_keys = st.builds(
    lambda name, part: Key(entity="metrics", name=name, part=part),
    st.sampled_from([*METRICS, "none"]), st.sampled_from(["min", "max", "step", "points"]),
)  # fmt: skip
contains = st.builds(
    lambda words, is_negated: Contains(key=Key(entity="attributes", name="text"), words=words, is_negated=is_negated),
    st.sampled_from(["warm", "WARM up", "gbm", "gbm warm", "500", "strasse", "größ", "日本", "µ", "nothing", "a_"]), st.booleans(),
)  # fmt: skip
tag_keys = st.sampled_from([Key(entity="tags", name=name) for name in TAGS])
text_attributes = st.sampled_from(
    [Key(entity="attributes", name=name) for name in ["name", "kind", "status", "user", "group", "job_type", "experiment", "parent"]]
)
number_attributes = st.sampled_from([Key(entity="attributes", name=name) for name in ["started", "ended", "duration"]])
attribute_texts = st.sampled_from([*WORDS[:4], "train", "trial", "running", "finished", "ada", "g1", "churn", "Churn", "0" * 32])
times = st.integers(0, 2 * SECOND_NS).map(lambda after: NOW + after)


def conditions_on(
    keys: st.SearchStrategy[Key], literals: st.SearchStrategy, ops: list[str], *, is_text: bool
) -> st.SearchStrategy[Condition]:
    forms = [
        st.builds(lambda key, op, value: Compare(key=key, op=op, value=value), keys, st.sampled_from(ops), literals),
        st.builds(
            lambda key, values, is_negated: In(key=key, values=tuple(values), is_negated=is_negated),
            keys, st.lists(literals, min_size=1, max_size=3), st.booleans(),
        ),
        st.builds(lambda key, is_negated: Null(key=key, is_negated=is_negated), keys, st.booleans()),
    ]  # fmt: skip
    if "<" in ops:
        forms.append(
            st.builds(
                lambda key, low, high, is_negated: Between(key=key, low=low, high=high, is_negated=is_negated),
                keys, literals, literals, st.booleans(),
            )
        )  # fmt: skip
    if is_text:
        forms.append(
            st.builds(
                lambda key, pattern, has_case, is_negated: Like(key=key, pattern=pattern, has_case=has_case, is_negated=is_negated),
                keys, st.sampled_from(PATTERNS), st.booleans(), st.booleans(),
            )
        )  # fmt: skip
    return st.one_of(forms)


ALL = ["=", "!=", "<", "<=", ">", ">="]
leaves = st.one_of(
    conditions_on(stored_keys, texts | numbers, ALL, is_text=True),
    conditions_on(stored_keys, st.booleans(), ["=", "!="], is_text=True),
    conditions_on(metric_keys, numbers, ALL, is_text=False),
    conditions_on(part_keys, numbers, ALL, is_text=False),
    contains,
    conditions_on(tag_keys, texts, ["=", "!="], is_text=True),
    conditions_on(text_attributes, attribute_texts, ["=", "!="], is_text=True),
    conditions_on(number_attributes, times | numbers, ALL, is_text=False),
)
trees = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, min_size=0, max_size=3).map(lambda parts: And(parts=tuple(parts))),
        st.lists(parts, min_size=1, max_size=3).map(lambda parts: Or(parts=tuple(parts))),
        parts.map(lambda part: Not(part=part)),
    ),
    max_leaves=6,
)
orders = st.lists(
    st.builds(
        lambda key, is_descending: OrderKey(key=key, is_descending=is_descending),
        stored_keys | metric_keys | part_keys | tag_keys | text_attributes | number_attributes, st.booleans(),
    ),
    max_size=3,
)  # fmt: skip


@given(
    condition=trees,
    order=orders,
    experiments=st.none() | st.lists(st.sampled_from([*EXPERIMENTS, "none"]), max_size=2),
    common=st.sampled_from([0, 20, 1500]),  # from how many runs on a condition is looked up run by run
)
@settings(max_examples=150)
@pytest.mark.slow
def test_compiled_searches_give_what_the_tree_means(
    store: Store, documents: list[Searchable], condition: Condition, order: list[OrderKey], experiments: list[str] | None, common: int
) -> None:
    expected = [each for each in documents if evaluate(condition, each) and (experiments is None or each.experiment in experiments)]

    with store.database.read(Identity(name="ada")) as tx, pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "_COMMON", common)
        page = search_runs(tx, condition, order, experiments=experiments, living=[store.writer.id], limit=MOST)
        count = count_runs(tx, condition, experiments=experiments, living=[store.writer.id])

    assert [record.id for record in page.runs] == [each.id for each in ordered(expected, order)]
    assert (count, page.next) == (len(expected), None)


@given(condition=trees, order=orders, limit=st.integers(20, 80))
@settings(max_examples=25)
@pytest.mark.slow
def test_pages_put_together_are_the_whole(
    store: Store, documents: list[Searchable], condition: Condition, order: list[OrderKey], limit: int
) -> None:
    expected = [each.id for each in ordered([each for each in documents if evaluate(condition, each)], order)]
    found: list[str] = []
    token = None
    with store.database.read(Identity(name="ada")) as tx:
        while True:
            page = search_runs(tx, condition, order, living=[store.writer.id], limit=limit, page=token)
            found.extend(record.id for record in page.runs)
            token = page.next
            if token is None:
                break
            assert len(page.runs) == limit

    assert found == expected


def test_a_run_that_was_resumed_with_other_params_is_found_by_the_new_ones(tmp_path: Path) -> None:
    store = open_store(tmp_path / ".stratal", settings=Settings(user="ada"))
    first = run("churn", params={"lr": 0.1}, store=store)
    first.log_params({"lr": "high"})
    first.finish()

    with store.query() as tx:
        found = {
            text: len(search_runs(tx, parse_filter(text, now_ns=0), ()).runs)
            for text in ["params.lr = 0.1", "params.lr = 'high'", "params.lr < 1"]
        }

    assert found == {"params.lr = 0.1": 0, "params.lr = 'high'": 1, "params.lr < 1": 0}


def test_a_run_without_living_writers_is_lost(store: Store) -> None:
    with store.query() as tx:
        alive = search_runs(tx, parse_filter("status = 'running'", now_ns=0), (), living=[store.writer.id]).runs
        lost = search_runs(tx, parse_filter("status = 'lost'", now_ns=0), (), living=["0" * 16]).runs

    assert alive
    assert alive == lost


@pytest.mark.parametrize("join", [" and ", " or "])
def test_the_largest_filter_is_answered(store: Store, join: str) -> None:
    values = ", ".join(f"'{number}'" for number in range(250))
    largest = join.join([f"params.lr not in ({values})", f"params.model in ({values})", *["tags.team != 'x'"] * 98])
    with store.query() as tx:
        condition = parse_filter(largest, now_ns=NOW)
        assert count_runs(tx, condition) == len(search_runs(tx, condition, (), limit=MOST).runs)


def test_a_run_that_says_it_took_centuries_spoils_no_search(fresh_store: Callable[[], Store]) -> None:
    made = fresh_store()
    for began_ns, ended_ns in ((-(2**63) + 1, 2**63 - 1), (NOW, NOW + SECOND_NS)):
        id = to_bytes(new_id())
        made.writer.fact(id, 0, START, Start(experiment="e"), at_ns=began_ns)
        made.writer.fact(id, 0, END, End(status="finished"), at_ns=ended_ns)
    with made.query() as tx:
        found = search_runs(tx, parse_filter("duration >= 1", now_ns=NOW), parse_order("duration")).runs
    assert [record.ended_ns for record in found] == [NOW + SECOND_NS, 2**63 - 1]


@pytest.mark.parametrize("token", ["", "x", "e30", "AAAA", "eyJvcmRlciI6IjAiLCJ2YWx1ZXMiOltdLCJvZGQiOltdfQ"])
def test_what_is_no_token_is_refused(store: Store, token: str) -> None:
    with store.query() as tx, pytest.raises(Misuse, match="token"):
        search_runs(tx, And(), (), page=token)


@pytest.mark.parametrize("said", ["x", "", "F" * 32, "0" * 31, "' or 1 = 1"])
def test_an_id_that_cannot_be_one_matches_nothing_and_no_run_is_looked_at(fresh_store: Callable[[], Store], said: str) -> None:
    store = fresh_store()
    made = [run("churn", store=store) for _ in range(3)]
    for each in made:
        each.finish()
    first, key, parent = made[0].id, Key(entity="attributes", name="id"), Key(entity="attributes", name="parent")
    none = [
        In(key=key, values=(said,)),
        Compare(key=key, op="=", value=said),
        In(key=parent, values=(said,)),
    ]
    with store.query() as tx:
        for condition in none:
            asked = search.Asked(kind=search.Searching, shape=condition, experiments=None, is_count=True)
            assert str(search.Searching(asked, tx.now_ns, []).condition(condition)) == "false"
            assert count_runs(tx, condition, living=[]) == 0
            assert count_runs(tx, Not(part=condition), living=[]) == 3
        for condition in (In(key=key, values=(said, first)), Not(part=In(key=key, values=(said, first), is_negated=True))):
            assert count_runs(tx, condition, living=[]) == 1


def test_a_token_of_another_order_and_an_impossible_limit_are_refused(store: Store) -> None:
    with store.query() as tx:
        page = search_runs(tx, And(), parse_order("metrics.auc"), limit=1)
        with pytest.raises(Misuse, match="another order"):
            search_runs(tx, And(), parse_order("metrics.auc desc"), limit=1, page=page.next)
        for limit in (0, -1, MOST + 1):
            with pytest.raises(Misuse, match="limit"):
                search_runs(tx, And(), (), limit=limit)


def test_a_question_asked_with_other_values_is_compiled_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        run("asked again", params={"lr": value, "model": name}, store=store) for value, name in ((1, "gbm"), (True, "gbm"), ("1", "mlp"))
    ]
    for each, auc in zip(made, (0.1, 0.5, 0.9), strict=True):
        each.log({"auc": auc})
        each.finish()

    def ask(text: str, *, order: str = "metrics.auc desc", limit: int = 10) -> list[str]:
        with store.query() as tx:
            condition, keys = parse_filter(text, now_ns=0), parse_order(order)
            page = search_runs(tx, condition, keys, experiments=["asked again"], limit=limit)
            if page.next is not None:
                page = search_runs(tx, condition, keys, experiments=["asked again"], limit=limit, page=page.next)
            return [found.id for found in page.runs]

    first, second, third = (each.id for each in made)
    assert ask("metrics.auc > 0.05 and params.model = 'gbm'", limit=1) == [first]
    assert ask("metrics.auc > 0.7 and params.model = 'gbm'") == []
    assert ask("params.lr = 1") == [third, second, first]
    assert ask("params.lr = 'x'") == []
    compiled: list[object] = []
    monkeypatch.setattr(statements, "on_compile", [compiled.append])
    assert ask("metrics.auc > 0.2 and params.model = 'gbm'") == [second]
    assert ask("metrics.auc > 0.6 and params.model = 'mlp'") == [third]
    assert ask("params.lr = true") == [second]
    assert ask("params.lr = 2.0") == []
    assert not compiled


def test_every_search_compiles_for_postgresql(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(statements, "on_compile", [lambda statement: compiled.append(str(statement.compile(dialect=postgresql.dialect())))])
    text = (
        "params.x > 1 and not (params.m ilike 'G%' or tags.t like '_') and metrics.auc between 0 and 1 and name = 'x' and duration > '1m'"
        " and status != 'lost' and id like 'a%' and params.y in (1, 'b', true) and group is null and ended > 'now'"
        " and max(metrics.auc) > 0 and text contains 'warm up'"
    )
    with store.query() as tx:
        page = search_runs(tx, And(), parse_order("params.x, metrics.auc desc, tags.t, name, started"), limit=1, experiments=["churn"])
        search_runs(tx, parse_filter(text, now_ns=0), parse_order("params.x, metrics.auc desc, tags.t, name, started"), page=page.next)

    sql = "\n".join(compiled)
    assert "GLOB" not in sql
    assert "json_extract" not in sql
    assert 'COLLATE "C"' in sql


@pytest.mark.parametrize(
    ("listed", "index"),
    [
        (lambda asked: among(tables.run.c.no, asked), "INTEGER PRIMARY KEY"),
        (lambda asked: among(tables.metric.c.run, asked), "run=?"),
        (lambda asked: among_listed(tables.run.c.short, asked), "short=?"),
    ],
)
def test_what_is_listed_is_looked_up_in_an_index(
    store: Store, listed: Callable[[ColumnElement[str]], ColumnElement[bool]], index: str
) -> None:
    with store.query() as tx:
        statement = select(literal(1)).where(listed(bindparam("asked")))
        compiled = statements.compile_statement(statement, sqlite.dialect(paramstyle="qmark"))
        assert isinstance(tx._driver, _Driver)
        plan = [row[3] for row in tx._driver._connection.execute(f"explain query plan {compiled.sql}", compiled.bind({"asked": "[1]"}))]
    assert index in " ".join(plan)
