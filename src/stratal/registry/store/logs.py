"""Rows of the audit log, of requests and of approvals. The log's entry stands in the transaction of the change it tells."""

from typing import cast

from sqlalchemy import bindparam, select, update

from stratal.core.records import to_json
from stratal.registry.approving import Approval, Request, RequestState
from stratal.registry.audit import Entry, Folded, chain, name_alias, name_approval, name_version
from stratal.registry.store.rows import ALL_ALIASES, ALL_DIGESTS, ALL_POLICIES, ALL_STANDINGS
from stratal.registry.tables import approval, audit, head, request
from stratal.store.database import Transaction, insert

_ENTRY = (
    audit.c.seq,
    audit.c.at_ns,
    audit.c.actor,
    audit.c.is_authenticated,
    audit.c.action,
    audit.c.model,
    audit.c.body,
    audit.c.prev,
    audit.c.hash,
)
# Taken before it is read: on a database with many writers the row's lock makes them queue.
_TAKE_HEAD = update(head).where(head.c.id == 1).values(seq=head.c.seq + 1).returning(head.c.seq, head.c.hash, head.c.at_ns)
_SET_HEAD = update(head).where(head.c.id == 1).values(hash=bindparam("newest"), at_ns=bindparam("at"))
_HEAD_TIME = select(head.c.at_ns).where(head.c.id == 1)
_ADD_ENTRY = insert(audit)
_ENTRIES = select(*_ENTRY).order_by(audit.c.seq)
_ENTRIES_OF = select(*_ENTRY).where(audit.c.model == bindparam("name")).order_by(audit.c.seq)
_REQUEST = (
    request.c.id,
    request.c.model,
    request.c.number,
    request.c.target,
    request.c.by,
    request.c.at_ns,
    request.c.evidence,
    request.c.state,
    request.c.why,
)
_ADD_REQUEST = insert(request)
_OPEN = (
    select(*_REQUEST)
    .where(request.c.model == bindparam("name"), request.c.state == RequestState.OPEN.value)
    .order_by(request.c.at_ns.desc(), request.c.id.desc())
)
_SET_STATE = update(request).where(request.c.id == bindparam("which")).values(state=bindparam("now_is"), why=bindparam("because"))
_ADD_APPROVAL = insert(approval)
_APPROVAL = (
    approval.c.request,
    approval.c.person,
    approval.c.is_authenticated,
    approval.c.at_ns,
    approval.c.evidence,
    approval.c.note,
)
_APPROVALS = select(*_APPROVAL).where(approval.c.request == bindparam("of")).order_by(approval.c.at_ns, approval.c.person)
_ALL_APPROVALS = select(approval.c.request, approval.c.person)


def now_ns(tx: Transaction) -> int:
    """Give the time, never earlier than the last change: a clock that was set back revives no approval."""
    return max(tx.now_ns, cast("int", tx.value(_HEAD_TIME)))


def append(tx: Transaction, action: str, model: str, body: dict[str, object]) -> Entry:
    """Write the one entry of a change. Key: the next number."""
    seq, prev, last_ns = cast("tuple[int, str, int]", tx.row(_TAKE_HEAD))
    entry = chain(
        prev,
        seq=seq,
        at_ns=max(tx.now_ns, last_ns),
        actor=tx.actor.name,
        is_authenticated=tx.actor.is_authenticated,
        action=action,
        model=model,
        body=to_json(body),
    )
    tx.run(
        _ADD_ENTRY,
        seq=entry.seq,
        at_ns=entry.at_ns,
        actor=entry.actor,
        is_authenticated=int(entry.is_authenticated),
        action=entry.action,
        model=entry.model,
        body=entry.body,
        prev=entry.prev,
        hash=entry.hash,
    )
    tx.run(_SET_HEAD, newest=entry.hash, at=entry.at_ns)
    return entry


def entries(tx: Transaction) -> list[Entry]:
    """List the whole log, oldest first."""
    return [_entry(row) for row in tx.rows(_ENTRIES)]


def entries_of(tx: Transaction, model: str) -> list[Entry]:
    """List what happened to one model, oldest first."""
    return [_entry(row) for row in tx.rows(_ENTRIES_OF, name=model)]


def actual(tx: Transaction) -> Folded:
    """Give what the tables say is so, in the form that the folded log has."""
    return Folded(
        stages={name_version(str(model), cast("int", number)): str(stage) for model, number, stage in tx.rows(ALL_STANDINGS)},
        digests={name_version(str(model), cast("int", number)): str(digest) for model, number, digest in tx.rows(ALL_DIGESTS)},
        aliases={name_alias(str(model), str(word)): str(number) for model, word, number in tx.rows(ALL_ALIASES)},
        policies={f"model:{model}": str(digest) for model, digest in tx.rows(ALL_POLICIES)},
        approvals={name_approval(str(of), str(person)): "given" for of, person in tx.rows(_ALL_APPROVALS)},
    )


def add_request(tx: Transaction, new: Request) -> None:
    """Key: the id."""
    tx.run(
        _ADD_REQUEST,
        id=new.id,
        model=new.model,
        number=new.number,
        target=new.target,
        by=new.by,
        at_ns=new.at_ns,
        evidence=new.evidence,
        state=new.state,
        why=new.why,
    )


def open_requests(tx: Transaction, model: str) -> list[Request]:
    """List a model's open requests, the newest first."""
    return [_request(row) for row in tx.rows(_OPEN, name=model)]


def close_request(tx: Transaction, id: str, state: RequestState, why: str) -> None:
    tx.run(_SET_STATE, which=id, now_is=state, because=why)


def add_approval(tx: Transaction, new: Approval) -> None:
    """Key: (request, person)."""
    tx.run(
        _ADD_APPROVAL,
        request=new.request,
        person=new.person,
        is_authenticated=int(new.is_authenticated),
        at_ns=new.at_ns,
        evidence=new.evidence,
        note=new.note,
    )


def approvals_of(tx: Transaction, request_id: str) -> list[Approval]:
    """List a request's approvals, the oldest first."""
    return [_approval(row) for row in tx.rows(_APPROVALS, of=request_id)]


def _entry(row: tuple[object, ...]) -> Entry:
    values = dict(zip(Entry.__struct_fields__, row, strict=True))
    values["is_authenticated"] = bool(values["is_authenticated"])
    return Entry(**values)  # type: ignore[arg-type]  # columns are typed


def _request(row: tuple[object, ...]) -> Request:
    values = dict(zip(Request.__struct_fields__, row, strict=True))
    values["state"] = RequestState(str(values["state"]))
    return Request(**values)  # type: ignore[arg-type]  # columns are typed


def _approval(row: tuple[object, ...]) -> Approval:
    values = dict(zip(Approval.__struct_fields__, row, strict=True))
    values["is_authenticated"] = bool(values["is_authenticated"])
    return Approval(**values)  # type: ignore[arg-type]  # columns are typed
