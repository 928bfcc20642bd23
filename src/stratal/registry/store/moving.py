"""Moving versions: one change of standings is one epoch, one entry of the log, one event, all in the caller's transaction."""

from collections.abc import Sequence

from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.records import to_json
from stratal.registry.approving import RequestState
from stratal.registry.assessing import Assessment, Promotion
from stratal.registry.stages import LIMITS, Stage, Verb, find_transition
from stratal.registry.store import logs, rows
from stratal.registry.store.rows import ModelRow
from stratal.registry.versions import Move, predecessors
from stratal.store.database import Transaction


def promote(
    tx: Transaction, model: ModelRow, seen: Assessment, *, reason: str, keep_others: bool, archive_others: bool = False
) -> Promotion:
    """Move a version that is ready, and archive who stands in its way. `seen` was made in this transaction.

    archive_others: all who stand there, also where there is room for several.
    """
    others = [] if keep_others else _in_the_way(tx, model, seen, is_all=archive_others)
    moves = [Move(number=number, source=seen.target, target=Stage.ARCHIVED, slot=number) for number in others]
    slot = 1 if model.policy is not None and seen.target in LIMITS else seen.number
    moves.append(Move(number=seen.number, source=seen.stage, target=seen.target, slot=slot))
    approved_by = seen.ruling.counted
    body: dict[str, object] = {
        "evidence": seen.evidence,
        "under": seen.policy,
        "results": seen.results,
        "approved_by": approved_by,
    }
    if seen.request is not None:
        logs.close_request(tx, seen.request.id, RequestState.APPLIED, "")
    change(tx, model, Verb.PROMOTE, moves, reason=reason, said=body)
    archived = "".join(f", model:{model.name}@{number} is archived" for number in others)
    return Promotion(
        name=model.name,
        number=seen.number,
        source=seen.stage,
        target=seen.target,
        changed=True,
        said=f"{seen.ref}: {seen.stage} → {seen.target}{archived}",
        archived=tuple(others),
        evidence=seen.evidence,
        results=seen.results,
        approved_by=approved_by,
    )


def move(tx: Transaction, model: ModelRow, number: int, verb: Verb, target: Stage, *, reason: str) -> Promotion:
    """Return, archive or revive a version, by the table. What is there already stays, and says so."""
    source = rows.need_standing(tx, model.name, number).stage
    ref = f"model:{model.name}@{number}"
    if source is target:
        return Promotion(name=model.name, number=number, source=source, target=target, changed=False, said=f"{ref} is in {target} already")
    row = find_transition(source, verb, target)
    if row.needs_reason and not reason.strip():
        raise Misuse(f"to {verb} {ref} takes a reason", hint='say why: reason="..."')
    change(tx, model, verb, [Move(number=number, source=source, target=target, slot=number)], reason=reason)
    return Promotion(name=model.name, number=number, source=source, target=target, changed=True, said=f"{ref}: {source} → {target}")


def rollback(tx: Transaction, model: ModelRow, *, reason: str) -> Promotion:
    """Bring the predecessor back into Production, and archive who is there. Needs no gates: it served under them before."""
    if not reason.strip():
        raise Misuse(f"to roll model:{model.name} back takes a reason", hint='say why: reason="..."')
    serving = [standing.number for standing in rows.in_stage(tx, model.name, Stage.PRODUCTION)]
    number = find_predecessor(tx, model.name)
    moves = [Move(number=other, source=Stage.PRODUCTION, target=Stage.ARCHIVED, slot=other) for other in serving]
    slot = 1 if model.policy is not None else number
    moves.append(Move(number=number, source=Stage.ARCHIVED, target=Stage.PRODUCTION, slot=slot))
    change(tx, model, Verb.ROLLBACK, moves, reason=reason)
    archived = "".join(f", model:{model.name}@{other} is archived" for other in serving)
    return Promotion(
        name=model.name,
        number=number,
        source=Stage.ARCHIVED,
        target=Stage.PRODUCTION,
        changed=True,
        said=f"model:{model.name}@{number} is back in Production{archived}",
        archived=tuple(serving),
    )


def find_predecessor(tx: Transaction, name: str) -> int:
    """Give the version that a rollback restores: the last one that served before, and was not taken back. Raises NotFound."""
    changes = [(entry.action, entry.moves) for entry in logs.entries_of(tx, name)]
    standings = rows.standings(tx, name)
    for number in predecessors(changes):
        if standings[number].stage is Stage.ARCHIVED:
            return number
    raise NotFound(f"there is no earlier version of model:{name} to roll back to", hint=f"see: stratal history {name}")


def change(
    tx: Transaction, model: ModelRow, verb: Verb, moves: Sequence[Move], *, reason: str = "", said: dict[str, object] | None = None
) -> None:
    """Write moves. Raises Conflict if the model has changed since `model` was read."""
    rows.raise_epoch(tx, model.name, model.epoch)
    for each in moves:
        rows.move_standing(tx, model.name, each)
    entry = logs.append(tx, verb, model.name, {"moves": moves, "reason": reason, **(said or {})})
    void_requests(tx, model.name, moves)
    for each in moves:
        body = {"from": each.source, "to": each.target, "audit": entry.seq}
        tx.emit("version", f"model:{model.name}@{each.number}", to_json(body))


def void_requests(tx: Transaction, name: str, moves: Sequence[Move]) -> None:
    """Void what was asked for on other ground: of versions that moved, and all of them once Production has changed."""
    has_new_champion = any(Stage.PRODUCTION in (move.source, move.target) for move in moves)
    moved = {move.number for move in moves}
    for request in logs.open_requests(tx, name):
        if request.number in moved:
            logs.close_request(tx, request.id, RequestState.VOID, "the version has moved")
        elif has_new_champion and request.number:
            logs.close_request(tx, request.id, RequestState.VOID, "there is another champion")


def check_limits(tx: Transaction, model: ModelRow) -> None:
    """Give each version of a limited stage its slot, as a policy comes into force. Raises Conflict while there are too many."""
    for stage, limit in LIMITS.items():
        standing = rows.in_stage(tx, model.name, stage)
        if len(standing) > limit:
            refs = ", ".join(f"model:{model.name}@{each.number}" for each in standing)
            raise Conflict(
                f"a policy allows {limit} version in {stage}, and there are {len(standing)}: {refs}", hint="archive the others first"
            )
        for slot, each in enumerate(standing, start=1):
            rows.set_slot(tx, model.name, each.number, slot)


def _in_the_way(tx: Transaction, model: ModelRow, seen: Assessment, *, is_all: bool) -> list[int]:
    if seen.target not in LIMITS and not is_all:
        return []
    return [standing.number for standing in rows.in_stage(tx, model.name, seen.target)]
