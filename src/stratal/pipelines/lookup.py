"""Whether a found result may serve: its blobs are there, and its refs still stand for what they stood for."""

from stratal.core.errors import NotFound
from stratal.core.ids import short
from stratal.pipelines.payloads import blobs_in
from stratal.pipelines.rows import Result
from stratal.store.store import Store
from stratal.tracking.refs import resolve


def check_result(result: Result, store: Store) -> str | None:
    """Say why a result may not serve, None if it may. Resolves its refs: not for use inside of a transaction."""
    made_by = f"the result of run {short(result.step_run)}"
    for blob in blobs_in(result.output):
        if not store.blobs.has(blob):
            return f"{made_by} is lost: blob {blob[:12]} is gone"
    for ref, digest in result.refs:
        now, message = _digest_now(ref, store)
        if now == digest:
            continue
        if not now:
            return f"{made_by} used {ref}, which is not to be found now: {message}"
        if not digest:
            return f"{made_by} looked for {ref} in vain, which is there now"
        return f"{made_by} used {ref}, which was {digest[:8]} and is {now[:8]} now"
    return None


def _digest_now(ref: str, store: Store) -> tuple[str, str]:
    """Give the digest that a ref stands for, or "" and why there is none: as refs are recorded that were looked for in vain."""
    try:
        return resolve(ref, store).digest, ""
    except NotFound as error:
        return "", error.message
