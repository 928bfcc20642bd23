"""A process of its own that decides and acts on command: `racing_script.py FOLDER NAME`, one line in, one line out.

decide N      look at what stands between version N and Production, and remember it; answers "ready" or "held"
act           promote as remembered; answers "won", "Conflict" or another error's name
promote N     the verb: decide and act at once
rollback      the verb
watch         count versions in Production until the next line comes; answers "watching", and then "FEWEST MOST SNAPSHOTS"
"""

import select
import sys

from stratal.core.errors import StratalError
from stratal.core.people import Identity, acting_as
from stratal.registry import registering
from stratal.registry.stages import Stage
from stratal.registry.store import ModelStore
from stratal.tracking.opening import open_store


def answer(models, words, remembered):
    try:
        match words:
            case ["decide", number]:
                remembered[:] = [models.assess(name="churn", number=int(number), stage="Production")]
                return "ready" if remembered[0].is_ready else "held"
            case ["act"]:
                seen = remembered[0]
                models.promote(name="churn", number=seen.number, stage="Production", epoch=seen.epoch, evidence=seen.evidence)
                return "won"
            case ["promote", number]:
                return "won" if registering.promote(f"model:churn@{number}", "Production", store=models._store).changed else "nothing"
            case ["rollback"]:
                registering.rollback("churn", reason="r", store=models._store)
                return "won"
            case ["watch"]:
                return watch(models)
    except StratalError as error:
        return type(error).__name__
    raise SystemExit(f"unknown: {words}")


def watch(models):
    print("watching", flush=True)  # a line that came before would stand in our buffer, where select does not see it
    counts = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        standings = models.standings(name="churn").values()
        counts.append(sum(standing.stage is Stage.PRODUCTION for standing in standings))
    return f"{min(counts)} {max(counts)} {len(counts)}"


def main():
    models, remembered = ModelStore(open_store(sys.argv[1])), []
    with acting_as(Identity(name=sys.argv[2])):
        for line in sys.stdin:
            words = line.split()
            if words != ["stop"]:  # what ends a watch
                print(answer(models, words, remembered), flush=True)


main()
