"""Rows of models, versions, standings, aliases and policies, as records. Each function is one statement."""

import difflib
from typing import cast

from sqlalchemy import bindparam, func, select, update
from sqlalchemy import delete as sql_delete

from stratal.core.errors import Conflict, Damaged, NotFound
from stratal.core.people import EVERYTHING, Grant
from stratal.core.records import Record
from stratal.registry.policies import Policy, policy_from_json, policy_to_json
from stratal.registry.stages import Stage
from stratal.registry.tables import alias, model, policy, standing, version
from stratal.registry.versions import ModelSummary, Move, Standing, Version
from stratal.store.database import Transaction, insert
from stratal.store.tables import blob_use, grant

_VERSION = (
    version.c.model,
    version.c.number,
    version.c.digest,
    version.c.run,
    version.c.path,
    version.c.flavor,
    version.c.features,
    version.c.signature,
    version.c.author,
    version.c.is_authenticated,
    version.c.at_ns,
)
_FIND_MODEL = select(model.c.name, model.c.owner, model.c.epoch, model.c.policy, model.c.at_ns).where(model.c.name == bindparam("name"))
_MODEL_NAMES = select(model.c.name).order_by(model.c.name)
_ALIKE = select(model.c.name).where(model.c.folded == bindparam("folded"))
_ADD_MODEL = insert(model)
_NEXT_NUMBER = (
    update(model).where(model.c.name == bindparam("of")).values(next_number=model.c.next_number + 1).returning(model.c.next_number - 1)
)
_RESERVE = (
    update(model).where(model.c.name == bindparam("of"), model.c.next_number <= bindparam("last")).values(next_number=bindparam("last") + 1)
)
_NUMBERS = select(
    model.c.next_number - 1, select(func.max(version.c.number)).where(version.c.model == model.c.name).scalar_subquery()
).where(model.c.name == bindparam("of"))
_RAISE_EPOCH = update(model).where(model.c.name == bindparam("of"), model.c.epoch == bindparam("seen")).values(epoch=model.c.epoch + 1)
_SET_POLICY = update(model).where(model.c.name == bindparam("of")).values(policy=bindparam("digest"))
# Counted, for numbers may have gaps: what was imported kept its number.
_HOW_MANY = select(func.count()).where(version.c.model == model.c.name).scalar_subquery()
_SUMMARIES = select(model.c.name, model.c.owner, _HOW_MANY, model.c.policy, model.c.at_ns).order_by(model.c.name)
_SERVING = (
    select(standing.c.model, standing.c.number)
    .where(standing.c.stage == bindparam("stage"))
    .order_by(standing.c.model, standing.c.since_ns.desc(), standing.c.number.desc())
)
_ADD_VERSION = insert(version)
_FIND_VERSION = select(*_VERSION).where(version.c.model == bindparam("name"), version.c.number == bindparam("number"))
_FIND_DIGEST = select(*_VERSION).where(version.c.model == bindparam("name"), version.c.digest == bindparam("digest"))
_LATEST = (
    select(version.c.number)
    .where(version.c.model == bindparam("name"))
    .order_by(version.c.number.desc())
    .limit(1)
    .offset(bindparam("back"))
)
_VERSIONS = (
    select(*_VERSION)
    .where(version.c.model == bindparam("name"), version.c.number < bindparam("below"))
    .order_by(version.c.number.desc())
    .limit(bindparam("limit"))
)
_ADD_STANDING = insert(standing)
_STANDING = select(standing.c.number, standing.c.stage, standing.c.slot, standing.c.since_ns).where(
    standing.c.model == bindparam("name"), standing.c.number == bindparam("number")
)
_IN_STAGE = (
    select(standing.c.number, standing.c.stage, standing.c.slot, standing.c.since_ns)
    .where(standing.c.model == bindparam("name"), standing.c.stage == bindparam("stage"))
    .order_by(standing.c.since_ns.desc(), standing.c.number.desc())
)
_STANDINGS = select(standing.c.number, standing.c.stage, standing.c.slot, standing.c.since_ns).where(standing.c.model == bindparam("name"))
_MOVE = (
    update(standing)
    .where(standing.c.model == bindparam("of"), standing.c.number == bindparam("which"), standing.c.stage == bindparam("was"))
    .values(stage=bindparam("now_in"), slot=bindparam("at_slot"), since_ns=bindparam("since"))
)
_SET_SLOT = (
    update(standing).where(standing.c.model == bindparam("of"), standing.c.number == bindparam("which")).values(slot=bindparam("at_slot"))
)
_SET_ALIAS = (
    insert(alias)
    .values(model=bindparam("model"), alias=bindparam("alias"), number=bindparam("number"))
    .on_conflict_do_update(index_elements=[alias.c.model, alias.c.alias], set_={"number": bindparam("number")})
)
_DROP_ALIAS = sql_delete(alias).where(alias.c.model == bindparam("name"), alias.c.alias == bindparam("word"))
_FIND_ALIAS = select(alias.c.number).where(alias.c.model == bindparam("name"), alias.c.alias == bindparam("word"))
_ALIASES = select(alias.c.alias, alias.c.number).where(alias.c.model == bindparam("name")).order_by(alias.c.alias)
_ADD_POLICY = insert(policy).on_conflict_do_nothing()
_FIND_POLICY = select(policy.c.body).where(policy.c.digest == bindparam("digest"))
_GRANTS = select(grant.c.person, grant.c.role, grant.c.object).where(grant.c.object.in_([EVERYTHING, bindparam("on")]))
_BLOBS_OF = select(blob_use.c.digest).where(blob_use.c.holder == bindparam("holder")).order_by(blob_use.c.digest)
ALL_STANDINGS = select(standing.c.model, standing.c.number, standing.c.stage)
ALL_DIGESTS = select(version.c.model, version.c.number, version.c.digest)
ALL_ALIASES = select(alias.c.model, alias.c.alias, alias.c.number)
ALL_POLICIES = select(model.c.name, model.c.policy).where(model.c.policy.is_not(None))


class ModelRow(Record, frozen=True, kw_only=True):
    """A model as it is in this transaction."""

    name: str
    owner: str
    epoch: int
    policy: str | None
    at_ns: int


def find_model(tx: Transaction, name: str) -> ModelRow | None:
    """Give the model of exactly that name."""
    row = tx.row(_FIND_MODEL, name=name)
    return _record(ModelRow, row) if row else None


def need_model(tx: Transaction, name: str) -> ModelRow:
    """Give the model. Raises NotFound that names the nearest one which its reader may view."""
    found = find_model(tx, name)
    if found is not None:
        return found
    names = [str(row[0]) for row in tx.rows(_MODEL_NAMES) if tx.may_view is None or tx.may_view(f"model:{row[0]}")]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"did you mean model:{near[0]}?" if near else "models are made by registering: st.register(NAME, model)"
    raise NotFound(f"there is no model:{name[:200]}", hint=guess)


def find_alike(tx: Transaction, folded: str) -> str | None:
    """Give the model whose name folds to the same."""
    return cast("str | None", tx.value(_ALIKE, folded=folded))


def add_model(tx: Transaction, *, name: str, folded: str, owner: str) -> None:
    """Key: name. Its first version will be 1."""
    tx.run(_ADD_MODEL, name=name, folded=folded, owner=owner, next_number=1, epoch=0, policy=None, at_ns=tx.now_ns)


def take_number(tx: Transaction, name: str) -> int:
    """Give the next version number; no two transactions get the same."""
    return cast("int", tx.value(_NEXT_NUMBER, of=name))


def reserve_numbers(tx: Transaction, name: str, last: int) -> None:
    """Let the next version have a number above `last`."""
    tx.run(_RESERVE, of=name, last=last)


def numbers_so_far(tx: Transaction, name: str) -> tuple[int, int | None]:
    """Give the last number that was taken or reserved, and that of the highest version, None if there is none."""
    found = tx.row(_NUMBERS, of=name)
    assert found is not None  # whoever asks has made the model
    return found[0], found[1]


def is_free(tx: Transaction, name: str, number: int) -> bool:
    """Tell whether no version has a number."""
    return tx.row(_FIND_VERSION, name=name, number=number) is None


def raise_epoch(tx: Transaction, name: str, seen: int) -> None:
    """Say that the model has changed. Raises Conflict if somebody else did so since epoch `seen` was read."""
    if tx.run(_RAISE_EPOCH, of=name, seen=seen) != 1:
        raise Conflict(f"model:{name} has changed in between", hint="read its present state and decide again: stratal models " + name)


def set_policy_digest(tx: Transaction, name: str, digest: str) -> None:
    tx.run(_SET_POLICY, of=name, digest=digest)


def summaries(tx: Transaction) -> list[ModelSummary]:
    """List all models by name."""
    serving: dict[str, list[int]] = {}
    for name, number in tx.rows(_SERVING, stage=Stage.PRODUCTION):
        serving.setdefault(str(name), []).append(cast("int", number))
    fields = ("name", "owner", "versions", "policy", "at_ns")
    rows = [dict(zip(fields, row, strict=True)) for row in tx.rows(_SUMMARIES)]
    return [ModelSummary(**row, production=tuple(serving.get(str(row["name"]), ()))) for row in rows]


def add_version(tx: Transaction, new: Version) -> None:
    """Keys: (model, number) and (model, digest)."""
    tx.run(
        _ADD_VERSION,
        model=new.name,
        number=new.number,
        digest=new.digest,
        run=new.run,
        path=new.path,
        flavor=new.flavor,
        features=new.features,
        signature=new.signature,
        author=new.author,
        is_authenticated=int(new.is_authenticated),
        at_ns=new.at_ns,
    )


def find_by_digest(tx: Transaction, name: str, digest: str) -> Version | None:
    row = tx.row(_FIND_DIGEST, name=name, digest=digest)
    return _version(row) if row else None


def need_version(tx: Transaction, name: str, number: int) -> Version:
    """Give a version. Raises NotFound that says which there are."""
    row = tx.row(_FIND_VERSION, name=name, number=number) if abs(number) < 2**31 else None
    if row is not None:
        return _version(row)
    need_model(tx, name)
    latest = number_from_latest(tx, name, 0)
    hint = "it has no versions yet" if latest is None else f"its latest version is {latest}"
    raise NotFound(f"there is no model:{name}@{number}", hint=hint)


def number_from_latest(tx: Transaction, name: str, back: int) -> int | None:
    """Give the number of the latest version (back=0), of the one before it (1), and so on."""
    return cast("int | None", tx.value(_LATEST, name=name, back=back))


def versions(tx: Transaction, name: str, *, below: int, limit: int) -> list[Version]:
    """List versions, the newest first."""
    return [_version(row) for row in tx.rows(_VERSIONS, name=name, below=below, limit=limit)]


def add_standing(tx: Transaction, name: str, move: Move) -> None:
    """Key: (model, number)."""
    tx.run(_ADD_STANDING, model=name, number=move.number, stage=move.target, slot=move.slot, since_ns=tx.now_ns)


def need_standing(tx: Transaction, name: str, number: int) -> Standing:
    row = tx.row(_STANDING, name=name, number=number)
    if row is None:
        raise Damaged(f"model:{name}@{number} stands nowhere", hint="stratal audit verify tells what has been changed")
    return _standing(row)


def in_stage(tx: Transaction, name: str, stage: Stage) -> list[Standing]:
    """List who stands in a stage, the latest comer first."""
    return [_standing(row) for row in tx.rows(_IN_STAGE, name=name, stage=stage)]


def standings(tx: Transaction, name: str) -> dict[int, Standing]:
    return {standing.number: standing for standing in map(_standing, tx.rows(_STANDINGS, name=name))}


def move_standing(tx: Transaction, name: str, move: Move) -> None:
    """Move a version. Raises Conflict if it is not where it was, or the slot is taken."""
    if tx.run(_MOVE, of=name, which=move.number, was=move.source, now_in=move.target, at_slot=move.slot, since=tx.now_ns) != 1:
        raise Conflict(f"model:{name}@{move.number} is not in {move.source} any more", hint="read its present state and decide again")


def set_slot(tx: Transaction, name: str, number: int, slot: int) -> None:
    """Give a version that stays where it is another slot."""
    tx.run(_SET_SLOT, of=name, which=number, at_slot=slot)


def set_alias(tx: Transaction, name: str, word: str, number: int) -> None:
    """Key: (model, alias)."""
    tx.run(_SET_ALIAS, model=name, alias=word, number=number)


def drop_alias(tx: Transaction, name: str, word: str) -> bool:
    return tx.run(_DROP_ALIAS, name=name, word=word) == 1


def find_alias(tx: Transaction, name: str, word: str) -> int | None:
    return cast("int | None", tx.value(_FIND_ALIAS, name=name, word=word))


def aliases(tx: Transaction, name: str) -> dict[str, int]:
    return {str(word): cast("int", number) for word, number in tx.rows(_ALIASES, name=name)}


def add_policy(tx: Transaction, value: Policy) -> None:
    """Key: the digest."""
    tx.run(_ADD_POLICY, digest=value.digest, body=policy_to_json(value))


def read_policy(tx: Transaction, digest: str) -> Policy:
    """Give a policy. Raises Damaged if the row does not give its digest."""
    body = tx.value(_FIND_POLICY, digest=digest)
    if body is None:
        raise Damaged(f"policy {digest[:12]}… is not in this store", hint="stratal audit verify tells what has been changed")
    found = policy_from_json(str(body))
    if found.digest != digest:
        raise Damaged(f"policy {digest[:12]}… does not hold what was stored", hint="restore it from a backup")
    return found


def grants_on(tx: Transaction, name: str) -> tuple[Grant, ...]:
    """List the grants that speak of the model, or of everything."""
    return tuple(Grant(person=str(person), role=str(role), on=str(on)) for person, role, on in tx.rows(_GRANTS, on=f"model:{name}"))


def blobs_of(tx: Transaction, ref: str) -> list[str]:
    """List the digests of the blobs that a version needs."""
    return [str(digest) for (digest,) in tx.rows(_BLOBS_OF, holder=ref)]


def _version(row: tuple[object, ...]) -> Version:
    fields = ("name", "number", "digest", "run", "path", "flavor", "features", "signature", "author", "is_authenticated", "at_ns")
    values = dict(zip(fields, row, strict=True))
    values["is_authenticated"] = bool(values["is_authenticated"])
    return Version(**values)  # type: ignore[arg-type]  # columns are typed


def _standing(row: tuple[object, ...]) -> Standing:
    number, stage, slot, since_ns = cast("tuple[int, str, int, int]", row)
    return Standing(number=number, stage=Stage(stage), slot=slot, since_ns=since_ns)


def _record(kind: type[ModelRow], row: tuple[object, ...]) -> ModelRow:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]  # columns are typed
