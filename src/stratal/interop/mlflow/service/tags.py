"""Tags of MLflow: what each of them means here, and the tags that a run of ours shows to clients.

A tag that says what has a place of its own here (name, user, code, description) is kept there, and not among the run's tags; the
text that a client set is kept in the run's document beside it, so that it reads back as it was.
"""

from collections.abc import Mapping

from stratal.interop.mlflow.meaning import NOTE, captured_of
from stratal.interop.mlflow.service.calls import Call
from stratal.interop.mlflow.service.errors import invalid
from stratal.interop.mlflow.service.store import runs as rows
from stratal.interop.mlflow.service.store.runs import Head
from stratal.store.frames import Fact
from stratal.store.names import find_run
from stratal.store.settling import PlacedFact
from stratal.tracking import facts
from stratal.tracking.store.runs import RunRecord
from stratal.tracking.store.settling import TrunkFacts, change_doc, merge_doc, write_words

NAME, USER, PARENT = "mlflow.runName", "mlflow.user", "mlflow.parentRunId"
# Member of the run's document by tag. Without dots, which paths into JSON would take apart.
HELD = {
    tag: tag.replace(".", "_")
    for tag in (
        NOTE, "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit", "mlflow.source.git.branch",
        "mlflow.source.git.repoURL",
    )
}  # fmt: skip

# Kinds of sources that are not local scripts, and what of git is said of them, by the names that a capture has.
_SOURCES = {"NOTEBOOK", "JOB", "PROJECT"}
_GIT = {"commit": "commit", "branch": "branch", "repoURL": "remote"}


def held_tags(tags: Mapping[str, str]) -> dict[str, object]:
    """Give what a run's document holds of tags that have a place of their own."""
    return {HELD[name]: value for name, value in tags.items() if name in HELD}


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Give the tags that are tags here, too."""
    return {name: value for name, value in tags.items() if name not in HELD and name not in (NAME, USER)}


def shown_tags(record: RunRecord, note: str | None) -> dict[str, str]:
    """Give a run's tags as clients see them; of runs that they did not make, those that MLflow itself would have set."""
    doc = record.doc
    said = doc.get("tags")
    tags = {str(name): str(value) for name, value in said.items()} if isinstance(said, Mapping) else {}
    held = {tag: str(doc[member]) for tag, member in HELD.items() if member in doc}
    if not any(tag != NOTE for tag in held):
        held |= _captured(doc)
    if note is not None:
        held.setdefault(NOTE, note)
    also = {NAME: doc.get("name"), USER: doc.get("user"), PARENT: record.parent, "stratal.group": doc.get("group")}
    also |= {"stratal.job_type": doc.get("job_type"), "stratal.kind": "" if record.kind == "train" else record.kind}
    if also[USER]:  # whoever is known to have made it, whatever a tag says that came another way
        tags.pop(USER, None)
    return {**{name: str(value) for name, value in also.items() if value}, **tags, **held}


def set_tags(call: Call, head: Head, tags: Mapping[str, str]) -> None:
    """Set tags of a run, in a command."""
    if (name := tags.get(NAME)) is not None:
        rename(call, head, name)
    if USER in tags and not call.tx.actor.is_authenticated:  # else it is known who made the run, and nobody else did
        change_doc(call.tx, head.no, {"user": tags[USER]})
    if own := own_tags(tags):
        tell(call, head, facts.TAGS, own)
    if (parent := tags.get(PARENT)) and (above := rows.find_head(call.tx, parent)) is not None and above.no != head.no:
        rows.set_parent(call.tx, head.no, above.id)
    if held := held_tags(tags):
        _hold(call, head, tags, held)


def drop_tag(call: Call, head: Head, name: str) -> bool:
    """Take a tag of a run away; False if it has none of that name."""
    doc = rows.document_of(call.tx, head.no)
    if name in HELD and HELD[name] in doc:
        change_doc(call.tx, head.no, {HELD[name]: ""})
        return True
    if name == NAME and doc.get("name"):
        change_doc(call.tx, head.no, {"name": ""})
        return True
    said = doc.get("tags")
    if not isinstance(said, dict) or name not in said:
        return False
    tell(call, head, facts.TAGS, {name: None})
    return True


def rename(call: Call, head: Head, name: str) -> None:
    """Give a run another name."""
    change_doc(call.tx, head.no, {"name": name})
    write_words(call.tx, head.no, name)


def tell(call: Call, head: Head, what: str, value: object) -> None:
    """Say a fact about a run in a command's own transaction."""
    row = find_run(call.tx, head.bytes)
    assert row is not None
    fact = Fact(call.store.writer.id, 0, head.bytes, head.epoch, what, call.tx.now_ns, value)
    if TrunkFacts().apply(call.tx, [PlacedFact(fact, row)], call.store.settler.names):
        raise invalid(f"these {what} cannot be kept")
    call.attend(head.bytes)
    call.tx.emit("run", head.id)


def _hold(call: Call, head: Head, tags: Mapping[str, str], held: Mapping[str, object]) -> None:
    """Keep tags that have a place of their own: there, and as they were said."""
    before = rows.document_of(call.tx, head.no)
    change_doc(call.tx, head.no, held)
    if (text := tags.get(NOTE)) and before.get(HELD[NOTE]) != text:
        tell(call, head, facts.NOTE, {"text": text, "author": call.tx.actor.name})
    if captured := captured_of({**{tag: str(before[member]) for tag, member in HELD.items() if member in before}, **tags}):
        merge_doc(call.tx, head.no, "capture", captured)


def _captured(doc: Mapping[str, object]) -> dict[str, str]:
    """Say what was captured of a run's code by the names of MLflow."""
    capture = doc.get("capture")
    if not isinstance(capture, Mapping):
        return {}
    entry, git = capture.get("entry"), capture.get("git")
    said: dict[str, object] = {}
    if isinstance(entry, Mapping) and entry.get("target"):
        kind = str(entry.get("kind")).upper()
        said |= {"mlflow.source.name": entry["target"], "mlflow.source.type": kind if kind in _SOURCES else "LOCAL"}
    if isinstance(git, Mapping):
        said |= {f"mlflow.source.git.{name}": git.get(ours) for name, ours in _GIT.items()}
    return {name: str(value) for name, value in said.items() if value}
