"""The grammar of refs, and the resolver table. Excluded: what rooms resolve."""

import contextvars
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking import refs
from stratal.tracking.refs import (
    KINDS,
    STAGES,
    VERBATIM,
    VERSIONED,
    Alias,
    Digest,
    Number,
    Ref,
    Relative,
    Resolved,
    Selector,
    Stage,
    format_ref,
    parse_ref,
    register_resolver,
    resolve,
    watching_resolutions,
)  # fmt: skip
from stratal.tracking.resolving import get
from stratal.tracking.runs import run

names = st.text(min_size=1, max_size=20)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
selectors: st.SearchStrategy[Selector] = st.one_of(
    st.integers(0, 10**12).map(lambda value: Number(value=value)),
    st.sampled_from(["latest", "previous"]).map(lambda word: Relative(word=word)),
    st.sampled_from(STAGES).map(lambda name: Stage(name=name)),
    (names | st.sampled_from(["latest", "7", "production", "alias:x", "sha256:0"]))
    .filter(lambda name: "@" not in name)
    .map(lambda name: Alias(name=name)),
    digests.map(lambda digest: Digest(sha256=digest)),
)
all_refs = st.one_of(
    st.builds(lambda kind, name, selector: Ref(kind=kind, name=name, selector=selector), st.sampled_from(VERSIONED), names, selectors),
    st.builds(lambda kind, name: Ref(kind=kind, name=name), st.sampled_from(VERSIONED), names.filter(lambda name: "@" not in name)),
    st.builds(lambda kind, name: Ref(kind=kind, name=name), st.sampled_from([kind for kind in VERBATIM if kind != "sha256"]), names),
    digests.map(lambda digest: Ref(kind="sha256", name=digest)),
)


@given(all_refs)
def test_parsing_undoes_formatting(ref: Ref) -> None:
    assert parse_ref(format_ref(ref)) == ref


@given(st.sampled_from(KINDS), st.text())
def test_any_text_is_a_ref_or_a_misuse(kind: str, rest: str) -> None:
    try:
        ref = parse_ref(f"{kind}:{rest}")
    except Misuse:
        return
    assert parse_ref(format_ref(ref)) == ref


@pytest.mark.parametrize(
    ("text", "name", "selector"),
    [
        ("model:churn@7", "churn", Number(value=7)),
        ("model:churn@007", "churn", Number(value=7)),
        ("model:churn@PRODUCTION", "churn", Stage(name="Production")),
        ("model:churn@champion", "churn", Alias(name="champion")),
        ("model:churn@alias:latest", "churn", Alias(name="latest")),
        ("model:churn@alias:7", "churn", Alias(name="7")),
        ("dataset:churn/test@previous", "churn/test", Relative(word="previous")),
        ("dataset:a@b@3", "a@b", Number(value=3)),
        ("dataset:churn", "churn", None),
        (f"dataset:churn@sha256:{'0' * 64}", "churn", Digest(sha256="0" * 64)),
        ("pipeline:team/churn@latest", "team/churn", Relative(word="latest")),
        ("experiment:a@3", "a@3", None),
        ("artifact:7c41e09b/plots/roc@2x.png", "7c41e09b/plots/roc@2x.png", None),
        ("study:a:b", "a:b", None),
    ],
)
def test_each_form_means_what_the_design_says(text: str, name: str, selector: Selector | None) -> None:
    ref = parse_ref(text)

    assert (ref.kind, ref.name, ref.selector) == (text.partition(":")[0], name, selector)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle:churn@7", "did you mean model:churn@7"),
        ("churn", "names no kind"),
        ("", "names no kind"),
        ("model:", "names nothing"),
        ("model:@7", "names nothing"),
        ("model:churn@", "nothing follows"),
        ("model:churn@alias:", "cannot be an alias"),
        ("dataset:churn@sha256:abc", "is not a digest"),
        ("sha256:ABC", "is not a digest"),
    ],
)
def test_a_wrong_ref_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(Misuse) as raised:
        parse_ref(text)
    assert said in str(raised.value)


def test_a_text_without_kind_takes_the_default_kind() -> None:
    assert parse_ref("7c41e09b", default_kind="run") == Ref(kind="run", name="7c41e09b")
    assert parse_ref("model:churn@7", default_kind="run").kind == "model"


def test_stages_of_a_policy_replace_the_usual_ones() -> None:
    assert parse_ref("model:m@SHADOW", stages=["Shadow"]).selector == Stage(name="Shadow")
    assert parse_ref("model:m@production", stages=["Shadow"]).selector == Alias(name="production")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[Ref]:
    monkeypatch.setattr(refs, "_resolvers", {})
    asked: list[Ref] = []

    def resolver(ref: Ref, store: object) -> Resolved:
        asked.append(ref)
        return Resolved(ref=ref, digest=f"digest-{len(asked)}", value=store)

    register_resolver("dataset", resolver)
    return asked


def test_a_ref_is_resolved_by_the_one_who_registered(table: list[Ref]) -> None:
    resolved = resolve("dataset:churn@1", "the store")  # type: ignore[arg-type]

    assert resolved.value == "the store"
    assert table == [parse_ref("dataset:churn@1")]
    with pytest.raises(Misuse, match="nothing here resolves model refs"):
        resolve("model:churn@1", "the store")  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="no known kind"):
        register_resolver("datasets", lambda ref, store: Resolved(ref=ref, digest="", value=store))


def test_watching_records_what_is_resolved_inside_and_only_there(table: list[Ref]) -> None:
    with watching_resolutions() as outer:
        resolve("dataset:a", None)  # type: ignore[arg-type]
        with watching_resolutions() as inner:
            resolve("dataset:b@latest", None)  # type: ignore[arg-type]
            resolve("dataset:b@3", None)  # type: ignore[arg-type]
        resolve("dataset:c@01", None)  # type: ignore[arg-type]
    resolve("dataset:d", None)  # type: ignore[arg-type]

    assert inner == [("dataset:b@latest", "digest-2"), ("dataset:b@3", "digest-3")]
    assert outer == [("dataset:a", "digest-1"), *inner, ("dataset:c@1", "digest-4")]


def test_a_thread_in_a_copy_of_the_context_is_watched(table: list[Ref]) -> None:
    with watching_resolutions() as seen:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(resolve, "dataset:a", None))
        thread.start()
        thread.join()

    assert seen == [("dataset:a", "digest-1")]


def test_a_resolver_named_by_its_module_is_imported_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(refs, "_resolvers", {})
    register_resolver("run", "stratal.tracking.resolving:resolve_run")
    with run("churn", store=store) as made:
        made.log({"loss": 1.0})

    resolved = resolve(f"run:{made.short}", store)

    assert format_ref(resolved.ref) == f"run:{made.id}"
    assert get(made.short, store=store).metrics == {"loss": 1.0}


def test_the_trunk_resolves_its_own_kinds(store: Store) -> None:
    with run("a@1/b", store=store) as made:
        made.save_bytes("plots/roc@2x.svg", b"<svg/>")

    assert get(f"artifact:{made.short}/plots/roc@2x.svg", store=store).read() == b"<svg/>"
    assert [each.id for each in get("experiment:a@1/b", store=store)] == [made.id]
    for ref in ("experiment:none", f"artifact:{made.id}/none", "run:00000000", "study:none"):
        with pytest.raises(NotFound):
            get(ref, store=store)
    with pytest.raises(Misuse, match="names no file"):
        get(f"artifact:{made.id}", store=store)


def test_watchers_hear_of_refs_that_were_looked_for_in_vain(store):
    with watching_resolutions() as seen, pytest.raises(NotFound):
        resolve("run:0123456789abcdef0123456789abcdef", store)
    assert seen == [("run:0123456789abcdef0123456789abcdef", "")]


def test_a_misspelt_kind_is_no_run_but_named_with_the_nearest_kind() -> None:
    with pytest.raises(Misuse, match="did you mean model:churn"):
        parse_ref("modle:churn", default_kind="run")
    assert parse_ref("7c41e09b", default_kind="run") == Ref(kind="run", name="7c41e09b")
    assert parse_ref("team:churn@1", default_kind="dataset") == Ref(kind="dataset", name="team:churn", selector=Number(value=1))


def test_a_digest_stands_for_the_stored_bytes_and_is_not_found_without_them(store: Store) -> None:
    digest = store.blobs.put(b"weights")

    assert resolve(f"sha256:{digest}", store).value == b"weights"
    with pytest.raises(NotFound, match="no file in this store has the digest 000000000000"):
        resolve("sha256:" + "0" * 64, store)


def test_a_number_of_a_version_that_nothing_holds_is_none():
    for digits in (19, 5000):
        with pytest.raises(Misuse, match="no number of a version"):
            refs.parse_ref(f"dataset:churn@{'1' * digits}")
