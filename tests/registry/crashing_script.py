"""A clean process that has its children killed: `crashing_script.py FOLDER`, once per write of each operation.

For each operation and each n, a forked child dies by SIGKILL at its n-th write, or at a named point of the commit. The
parent then reads the store: it must be as before or as after. Prints one JSON object: kills by operation, and what was wrong.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

from stratal.core.people import Identity, acting_as
from stratal.registry import registering
from stratal.registry.policies import approvals, policy
from stratal.registry.store import ModelStore, logs
from stratal.store import migrating, settling  # noqa: F401  # loaded before the forks
from stratal.store.database import Transaction
from stratal.tracking.flavors.manifest import Manifest, ModelFile
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run
from stratal.tracking.values import Model

RULES = policy(production=[approvals(1)])


def new_model(store, seed):
    content = seed.encode()
    file = ModelFile(path="w", digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    manifest = Manifest(flavor="sklearn", files=(file,))
    with run("churn", store=store) as training:
        training.save_bytes("model/w", content)
        training.save_bytes("model/manifest.json", manifest.encode())
    return Model(run=training.id, path="model", digest=manifest.digest, flavor="sklearn")


def approve(store, ref, stage):
    with acting_as(Identity(name="maria")):
        registering.approve(ref, stage, store=store)


def prepare(folder):
    """model:churn@1 in Production, @2 approved for it, @3 in Staging, @4 not yet registered; another policy asked for and approved."""
    store = open_store(folder)
    for seed in "abc":
        version = registering.register("churn", new_model(store, seed), policy=RULES, store=store)
        registering.promote(version, "Staging", store=store)
    approve(store, "model:churn@1", "Production")
    registering.promote("model:churn@1", "Production", store=store)
    approve(store, "model:churn@2", "Production")
    registering.set_policy("churn", policy(), store=store)
    approve(store, "model:churn", "policy")
    store.settle()
    store.close()


OPERATIONS = {
    "register": lambda store: ModelStore(store).register_version(name="churn", **fourth(store)),
    "promote": lambda store: registering.promote("model:churn@2", "Production", store=store),
    "approve": lambda store: approve(store, "model:churn@3", "Production"),
    "set_policy": lambda store: registering.set_policy("churn", policy(), store=store),
    "archive": lambda store: registering.archive("model:churn@1", reason="r", store=store),
    "alias": lambda store: registering.alias("churn", "canary", 1, store=store),
    "request": lambda store: ModelStore(store).open_request(name="churn", number=3, stage="Production"),
}


def fourth(store):
    model = new_model(store, "d")
    return {"digest": model.digest, "run": model.run, "path": model.path}


def state(folder):
    """Everything that the registry holds, but for names and times that differ from one execution to the next."""
    store = open_store(folder)
    models = ModelStore(store)
    with store.query() as tx:
        requests = [(each.number, each.target, each.by) for each in logs.open_requests(tx, "churn")]
        yes = [(each.person, each.evidence) for request in logs.open_requests(tx, "churn") for each in logs.approvals_of(tx, request.id)]
    standings = {number: (each.stage, each.slot) for number, each in models.standings(name="churn").items()}
    found = {
        "standings": standings,
        "aliases": models.aliases(name="churn"),
        "policy": models.policy(name="churn"),
        "requests": sorted(requests),
        "approvals": sorted(yes),
        "log": [entry.action for entry in models.history(name="churn")],
    }
    findings = models.verify_audit().findings
    store.close()
    return found, findings


def child(folder, operation, dies):
    store = open_store(folder)
    dies(store)
    OPERATIONS[operation](store)


def at_write(n):
    """Die just before the n-th write that the registry's tables get."""

    def arm(store):
        run_statement, left = Transaction._run, [n]

        def counted(self, statement, values):
            if self.is_write and statement.__visit_name__ in ("insert", "update", "delete"):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return run_statement(self, statement, values)

        Transaction._run = counted

    return arm


def at_point(point):
    """Die at a named point of the write protocol."""

    def arm(store):
        def fault(reached):
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        store.database.fault = fault

    return arm


def execute(folder, operation, dies):
    """Fork, execute, and tell whether the child was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            child(folder, operation, dies)
            os._exit(0)
        except BaseException:  # noqa: BLE001  # the edge of this process
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{operation} failed by itself")
    return False


def crash(base, work, operation):
    """Kill an operation at each of its writes; give the number of kills, and what was wrong."""
    wrong, kills = [], 0
    before, _ = state(base)
    fresh(base, work)
    execute(work, operation, lambda store: None)
    after, _ = state(work)
    if before == after:
        wrong.append(f"{operation} changes nothing")
    plans = [("before commit", at_point("before commit")), ("after commit", at_point("after commit"))]
    n = 0
    while True:
        fresh(base, work)
        name, dies = plans.pop(0) if plans else (f"write {n}", at_write(n))
        was_killed = execute(work, operation, dies)
        found, findings = state(work)
        expected = after if name == "after commit" or not was_killed else before
        if found != expected or findings:
            wrong.append(f"{operation}, killed at {name}: {found} {findings}")
        kills += was_killed
        if name.startswith("write"):
            n += 1
            if not was_killed:
                return kills, wrong


def fresh(base, work):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)


def main():
    base, work = Path(sys.argv[1]) / "base", Path(sys.argv[1]) / "work"
    prepare(base)
    report = {"kills": {}, "wrong": []}
    for operation in OPERATIONS:
        kills, wrong = crash(base, work, operation)
        report["kills"][operation] = kills
        report["wrong"] += wrong
    print(json.dumps(report))


main()
