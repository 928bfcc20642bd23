"""Arguments that no client of ours sends: what the wire lets through is answered, or refused by an error of ours."""

import inspect
import math

import msgspec

from stratal.core.errors import StratalError
from stratal.store.operations import operations_of
from stratal.tracking.facts import Start
from stratal.tracking.operations.deciding import RunDecisions
from stratal.tracking.operations.forking import RunForks
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.operations.lineage import RunLineage
from stratal.tracking.operations.reading import RunReads
from stratal.tracking.operations.searching import RunSearch
from stratal.tracking.operations.views import ViewStore
from stratal.tracking.runs import run
from stratal.tracking.store.views import ViewQuery

TEXTS = ("", "zz", "\x00", "é" * 32, "x" * 10_000, "run:", "model:x", "experiment:", "artifact:x", "%%%%%%", "'")
WHOLES = (-1, 0, 2**31, 2**63 - 1, 2**70, -(2**70))
NUMBERS = (math.nan, math.inf, -1.0, 1e300, 0.0)
START = Start(experiment="e")
RUN = "of a run that is there"
CALLS = [
    *((RunReads, name, {"run": text}) for text in TEXTS for name in ("artifacts", "children", "media", "statements")),
    *((RunReads, name, {"text": text}) for text in TEXTS for name in ("find", "get")),
    *((RunReads, "named", {"ref": text}) for text in TEXTS),
    *((RunReads, "stated", {"kind": text}) for text in TEXTS),
    *((RunReads, "series", {"run": RUN, "name": text}) for text in TEXTS),
    *((RunReads, "envelope", {"run": RUN, "name": "m", "buckets": whole}) for whole in WHOLES),
    *((RunSearch, "page", {key: text}) for text in TEXTS for key in ("where", "after", "order_by")),
    *((RunSearch, "page", {"limit": whole}) for whole in WHOLES),
    (RunSearch, "page", {"experiments": ["x"] * 40_000}),
    *((RunSearch, "table", {"select": text}) for text in TEXTS),
    *((RunSearch, "table", {"select": "name", "limit": whole}) for whole in WHOLES),
    *((RunSearch, "top", {"by": "metrics.m desc", "where": "", "k": whole, "per": [], "select": ["id"]}) for whole in WHOLES),
    *((RunSearch, "spread", {"of": text, "where": "", "per": None, "apart_from": []}) for text in TEXTS),
    *((RunSearch, "name_metric", {"metric": text}) for text in TEXTS),
    *((RunSearch, "alerts", {"levels": ["info"], "run": text}) for text in TEXTS),
    *((RunSearch, "alerts", {"levels": ["info"], "limit": whole}) for whole in WHOLES),
    *((RunLineage, "explain", {"ref": text}) for text in TEXTS),
    *((RunDecisions, "delete", {"runs": [text]}) for text in TEXTS),
    *((RunDecisions, "purge_deleted", {"older_than_days": number}) for number in NUMBERS),
    *((RunForks, "origin", {"run": RUN, "step": whole}) for whole in WHOLES),
    *((RunForks, "fork", {"experiment": text, "start": START, "origin": RUN, "step": 0, "is_open": False}) for text in TEXTS),
    *((RunForks, "fork", {"experiment": "e", "start": START, "origin": RUN, "step": whole, "is_open": False}) for whole in WHOLES),
    *((RunLeases, "start_leased", {"experiment": "e", "start": START, "ttl_s": number}) for number in NUMBERS),
    *((RunLeases, "start_leased", {"experiment": "e", "start": Start(experiment="e", parent=text), "ttl_s": 1.0}) for text in TEXTS),
    *((RunLeases, "start_leased", {"experiment": "e", "start": Start(experiment="e", kind=text), "ttl_s": 1.0}) for text in TEXTS),
    *((RunLeases, "claim_leased", {"run": RUN, "from_step": whole, "ttl_s": 0.0}) for whole in WHOLES),
    *((RunLeases, "renew_lease", {"run": RUN, "token": whole, "ttl_s": 1.0}) for whole in WHOLES),
    *((RunLeases, "renew_lease", {"run": RUN, "token": 0, "ttl_s": number}) for number in NUMBERS),
    *((RunLeases, "end_leased", {"run": RUN, "token": 0, "status": text}) for text in TEXTS),
    *((ViewStore, "save_view", {"name": text, "query": ViewQuery(limit=whole)}) for text in TEXTS for whole in WHOLES),
]  # fmt: skip


def arguments_of(kind: type, name: str) -> type[msgspec.Struct]:
    """What a server reads a call as."""
    parameters = inspect.signature(getattr(kind, name)).parameters
    return msgspec.defstruct(name, [
        (key, hint) if (default := parameters[key].default) is inspect.Parameter.empty else (key, hint, default)
        for key, hint in operations_of(kind)[name].arguments.items()
    ], kw_only=True)  # fmt: skip


def test_every_odd_call_is_answered_or_refused_by_an_error_of_ours(store):
    with run("e", store=store) as made:
        made.log({"m": 1.0}, step=0)
    read, done, refused = 0, 0, 0
    for kind, name, arguments in CALLS:
        given = {key: made.id if value == RUN else value for key, value in arguments.items()}
        try:
            came = msgspec.json.decode(msgspec.json.encode(given), type=arguments_of(kind, name))
        except msgspec.ValidationError:
            read += 1
            continue
        try:
            getattr(kind(store), name)(**{key: getattr(came, key) for key in operations_of(kind)[name].arguments})
            done += 1
        except StratalError:
            refused += 1
    assert min(read, done, refused) > 20
