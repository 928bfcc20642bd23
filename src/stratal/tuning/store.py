"""All SQL of studies. Each command is one decision in one transaction; nobody coordinates, whoever comes next reads the state.

Laws (tested, with kills): 1 a number is given once, to one proposal. 2 at any time at most one token of a trial is accepted.
3 a trial whose worker is gone keeps its params and its number. 4 a result is told once, and takes the next place in the sequence.
"""

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, or_, select, update

from stratal.core.errors import Misuse, NotFound
from stratal.core.ids import RunId, new_id, to_bytes
from stratal.core.people import Role
from stratal.core.records import from_json, to_json
from stratal.store import leases
from stratal.store.database import Row, Transaction, insert
from stratal.store.names import ensure_run
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.store.tables import run as runs
from stratal.tracking.facts import Start
from stratal.tracking.store import runs as rows
from stratal.tracking.store.settling import TrunkFacts
from stratal.tracking.values import Params
from stratal.tuning.changes import explain_change
from stratal.tuning.tables import study, study_report, study_trial
from stratal.tuning.trials import HOPELESS, MOST_ATTEMPTS, Assignment, Opened, Result, Snapshot, Standing, StudyVersion, Trial

# Long enough for a machine that swaps. A worker of this machine that is seen to be gone is not waited for.
LEASE_S = 30.0


def _of(table: Table) -> Any:
    name = table.c.name if table is study else table.c.study
    return (name == bindparam("on_study")) & (table.c.version == bindparam("on_version"))


def _one(table: Table) -> Any:
    return _of(table) & (table.c.number == bindparam("on_number"))


_STUDY_COLUMNS = [study.c[name] for name in StudyVersion.__struct_fields__]
_TRIAL_COLUMNS = [study_trial.c[name] for name in Trial.__struct_fields__]
_VERSIONS = select(*_STUDY_COLUMNS).where(study.c.name == bindparam("on_study")).order_by(study.c.version.desc())
_NEWEST = select(study.c.name, func.max(study.c.version)).group_by(study.c.name).order_by(study.c.name)
_ONE_VERSION = select(*_STUDY_COLUMNS).where(_of(study))
_BY_RUN = select(*_STUDY_COLUMNS).where(study.c.run == bindparam("of_run"))
_ADD_STUDY = insert(study)
_PROPOSED = update(study).where(_of(study)).values(asked=bindparam("so_many"))
_RAISE_BUDGET = update(study).where(_of(study), study.c.budget < bindparam("wanted")).values(budget=bindparam("wanted"))
_ASK = update(study).where(_of(study), study.c.asked == bindparam("on_number")).values(asked=study.c.asked + 1)
_TELL = update(study).where(_of(study)).values(told=study.c.told + 1)
_TOLD = select(study.c.told).where(_of(study))

_TRIALS = select(*_TRIAL_COLUMNS).where(_of(study_trial)).order_by(study_trial.c.number)
_ENDED = select(*_TRIAL_COLUMNS).where(_of(study_trial), study_trial.c.told > bindparam("since")).order_by(study_trial.c.told)
_RUNNING = select(*_TRIAL_COLUMNS).where(_of(study_trial), study_trial.c.status == "running").order_by(study_trial.c.number)
_IS_FREE = or_(runs.c.holder.is_(None), runs.c.expires_ns.is_(None), runs.c.expires_ns <= bindparam("now"))
_FREE = (
    select(study_trial.c.number, study_trial.c.run, study_trial.c.params, study_trial.c.attempts)
    .join_from(study_trial, runs, runs.c.id == study_trial.c.run)
    .where(_of(study_trial), study_trial.c.status == "running", _IS_FREE)
    .order_by(study_trial.c.number)
)
_HOLDERS = (
    select(runs.c.holder)
    .distinct()
    .join_from(study_trial, runs, runs.c.id == study_trial.c.run)
    .where(_of(study_trial), study_trial.c.status == "running", runs.c.holder.is_not(None))
    .order_by(runs.c.holder)
)
_LEASED_BY = (
    select(study_trial.c.run, runs.c.epoch)
    .join_from(study_trial, runs, runs.c.id == study_trial.c.run)
    .where(_of(study_trial), study_trial.c.status == "running", runs.c.holder == bindparam("who"))
)
_COUNTS = (
    select(study_trial.c.status, func.count())
    .where(_of(study_trial), study_trial.c.told > bindparam("since"))
    .group_by(study_trial.c.status)
)
_TRIAL = select(*_TRIAL_COLUMNS).where(_one(study_trial))
_ADD_TRIAL = insert(study_trial)
_TRY_AGAIN = update(study_trial).where(_one(study_trial)).values(attempts=study_trial.c.attempts + 1, step=None, value=None)
_GIVE_BACK = update(study_trial).where(_one(study_trial)).values(attempts=study_trial.c.attempts - 1)
_END_TRIAL = (
    update(study_trial)
    .where(_one(study_trial), study_trial.c.status == "running")
    .values({name: bindparam(f"new_{name}") for name in ("status", "value", "step", "told", "told_ns", "error")})
)
_new_report = insert(study_report)
_REPORT = _new_report.on_conflict_do_update(
    index_elements=["study", "version", "number", "step"], set_={"value": _new_report.excluded.value}
)
_FORGET_REPORTS = delete(study_report).where(_one(study_report))
_OWN = select(study_report.c.value).where(_one(study_report)).order_by(study_report.c.step)
_PEERS = (
    select(study_report.c.value)
    .join_from(
        study_report,
        study_trial,
        (study_trial.c.study == study_report.c.study)
        & (study_trial.c.version == study_report.c.version)
        & (study_trial.c.number == study_report.c.number),
    )
    .where(_of(study_report), study_report.c.step == bindparam("at_step"), study_trial.c.status == "finished")
    .order_by(study_report.c.number)
)


class StudyStore:
    """Queries and commands of studies."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def open_version(
        self, *, name: str, metric: str, is_maximized: bool, space: str, objective: str, data: str, sampler: str, seed: int | None,
        spare_seed: int, budget: int, parent: str | None = None,
    ) -> Opened:  # fmt: skip
        """Give the version of these identities, opening one if there is none. seed: None takes any, and `spare_seed` for a new one.

        Idempotent by (name, metric, direction, space, objective, data, sampler, seed). parent: the run that a new one is part of.
        """
        if parent is not None:
            to_bytes(parent)  # it is an id, or Misuse
        wanted = StudyVersion(
            name=name, version=0, run="", metric=metric, is_maximized=is_maximized, space=space, objective=objective, data=data,
            sampler=sampler, seed=spare_seed if seed is None else seed, budget=budget, asked=0, told=0, opened_ns=0, why="",
        )  # fmt: skip
        with self._store.command() as tx:
            known = [_version(row) for row in tx.rows(_VERSIONS, on_study=name)]
            for version in known:
                if not explain_change(version, wanted, is_seed_free=seed is None):
                    tx.run(_RAISE_BUDGET, on_study=name, on_version=version.version, wanted=budget)
                    return Opened(version=self._get(tx, name, version.version), is_new=False)
            why = explain_change(known[0], wanted, is_seed_free=seed is None) if known else "it is the first"
            opened = self._insert(tx, wanted, version=known[0].version + 1 if known else 1, why=why, parent=parent)
            return Opened(version=opened, is_new=True)

    @operation(needs=Role.VIEWER, on="name")
    def version(self, *, name: str, version: int | None = None) -> StudyVersion:
        """Give a version of a study, by default the newest. Raises NotFound."""
        with self._store.query() as tx:
            if version is not None:
                return self._get(tx, name, version)
            newest = tx.row(_VERSIONS, on_study=name)
            if newest is None:
                names = [row[0] for row in tx.rows(_NEWEST) if tx.may_view is None or tx.may_view(f"experiment:{row[0]}")]
                raise NotFound(f"there is no study {name!r}", hint=f"there are: {', '.join(names)}" if names else "no study was opened yet")
            return _version(newest)

    @operation(needs=Role.VIEWER)
    def version_of(self, *, run: str) -> StudyVersion | None:
        """Give the version whose own run this is, None if it is no run of a study."""
        with self._store.query() as tx:
            found = tx.row(_BY_RUN, of_run=to_bytes(run))
            return None if found is None else _version(found)

    def plant(self, *, version: StudyVersion, trials: Sequence[Trial], with_results: bool = False) -> None:
        """Put a version of another store here, with its trials: as nobody has begun them, or as they ended. Idempotent by name and number.

        No operation: only a store that nobody else uses may be given numbers from outside."""
        name, number = version.name, version.version
        with self._store.command() as tx:
            if tx.row(_ONE_VERSION, on_study=name, on_version=number) is not None:
                return
            planted = self._insert(tx, version, version=number, why=version.why, parent=None)
            for trial in sorted(trials, key=lambda trial: trial.told or 0):
                start = self._start(name, "trial", f"trial {trial.number}", trial.params, planted.run)
                run, token = rows.insert_leased(tx, self._store, start, ttl_s=LEASE_S)
                tx.run(
                    _ADD_TRIAL, study=name, version=number, number=trial.number, run=to_bytes(run), params=to_json(trial.params), known=0,
                    status="running", attempts=0, error="", asked_ns=tx.now_ns,
                )  # fmt: skip
                if with_results and trial.status != "running":
                    result = Result(status=trial.status, value=trial.value, step=trial.step, error=trial.error)
                    self._end(tx, name, number, trial.number, run, token, result)
                else:
                    leases.release(tx, run, token)
            tx.run(_PROPOSED, on_study=name, on_version=number, so_many=len(trials))

    @operation(needs=Role.VIEWER)
    def newest_versions(self) -> list[StudyVersion]:
        """List the newest version of each study, by name."""
        with self._store.query() as tx:
            return [self._get(tx, name, version) for name, version in tx.rows(_NEWEST)]

    @operation(needs=Role.VIEWER, on="name")
    def trials(self, *, name: str, version: int) -> list[Trial]:
        """List all trials of a version by number."""
        with self._store.query() as tx:
            return [_trial(row) for row in tx.rows(_TRIALS, on_study=name, on_version=version)]

    @operation(needs=Role.VIEWER, on="name")
    def snapshot(self, *, name: str, version: int, since: int, started: int = 0) -> Snapshot:
        """Give the state of a version, with the results after number `since` of its sequence.

        started: the place in the sequence from which on failures speak for a broken objective.
        """
        with self._store.query() as tx:
            at = self._get(tx, name, version)
            counts: dict[str, int] = dict(tx.rows(_COUNTS, on_study=name, on_version=version, since=started))
            return Snapshot(
                asked=at.asked,
                told=at.told,
                ended=tuple(_trial(row) for row in tx.rows(_ENDED, on_study=name, on_version=version, since=since)),
                running=tuple(_trial(row) for row in tx.rows(_RUNNING, on_study=name, on_version=version)),
                free=tuple(row[0] for row in tx.rows(_FREE, on_study=name, on_version=version, now=tx.now_ns)),
                is_hopeless=counts.get("failed", 0) >= HOPELESS and not counts.get("finished") and not counts.get("stopped"),
            )

    @operation(needs=Role.CONTRIBUTOR, on="name", is_repeatable=True)
    def propose(self, *, name: str, version: int, number: int, params: Params, known: int) -> Assignment | None:
        """Make trial `number` with these params, and take it. None: somebody else was faster; read again and propose anew."""
        with self._store.command() as tx:
            if tx.run(_ASK, on_study=name, on_version=version, on_number=number) != 1:
                return None
            parent = self._get(tx, name, version).run
            start = self._start(name, "trial", f"trial {number}", params, parent)
            run, token = rows.insert_leased(tx, self._store, start, ttl_s=LEASE_S)
            tx.run(
                _ADD_TRIAL, study=name, version=version, number=number, run=to_bytes(run), params=to_json(params), known=known,
                status="running", attempts=1, error="", asked_ns=tx.now_ns,
            )  # fmt: skip
            return Assignment(number=number, run=run, params=params, token=token, attempt=1)

    @operation(needs=Role.CONTRIBUTOR, on="name", is_repeatable=True)
    def take_over(self, *, name: str, version: int) -> Assignment | None:
        """Take the first trial that nobody works on any more, with its params; None if there is none.

        One that workers died on MOST_ATTEMPTS times is told as failed instead.
        """
        with self._store.command() as tx:
            for number, run, params, attempts in tx.rows(_FREE, on_study=name, on_version=version, now=tx.now_ns):
                token = rows.take_over(tx, self._store, run.hex(), ttl_s=LEASE_S, from_step=0)
                if attempts >= MOST_ATTEMPTS:
                    result = Result(status="failed", error=f"its worker died {attempts} times")
                    self._end(tx, name, version, number, run.hex(), token, result)
                    continue
                tx.run(_FORGET_REPORTS, on_study=name, on_version=version, on_number=number)
                tx.run(_TRY_AGAIN, on_study=name, on_version=version, on_number=number)
                return Assignment(number=number, run=run.hex(), params=from_json(params, Params), token=token, attempt=attempts + 1)
        return None

    @operation(needs=Role.CONTRIBUTOR, on="name", is_repeatable=True)
    def report(self, *, name: str, version: int, number: int, run: str, token: int, step: int, value: float | None) -> Standing:
        """Note a value at a step (None: NaN), and give what a stopper decides from. Raises StaleLease. Idempotent by step."""
        with self._store.command() as tx:
            leases.guard(tx, run, token)
            tx.run(_REPORT, study=name, version=version, number=number, step=step, value=value)
            own = tx.rows(_OWN, on_study=name, on_version=version, on_number=number)
            peers = tx.rows(_PEERS, on_study=name, on_version=version, at_step=step)
            return Standing(own=tuple(row[0] for row in own), peers=tuple(row[0] for row in peers))

    @operation(needs=Role.CONTRIBUTOR, on="name", is_repeatable=True)
    def tell(self, *, name: str, version: int, number: int, run: str, token: int, result: Result) -> Trial:
        """End a trial with its result, and its run with it. Raises StaleLease if it was taken over."""
        with self._store.command(runs=[run]) as tx:
            self._end(tx, name, version, number, run, token, result)
            return _trial(tx.rows(_TRIAL, on_study=name, on_version=version, on_number=number)[0])

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def give_back(self, *, name: str, version: int, number: int, run: str, token: int) -> None:
        """Leave a trial to the next worker; this attempt does not count. Raises StaleLease if it was taken over."""
        with self._store.command() as tx:
            leases.release(tx, run, token)
            tx.run(_GIVE_BACK, on_study=name, on_version=version, on_number=number)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def free(self, *, name: str, version: int, holder: str) -> int:
        """Free all trials of a holder that is known to be gone; give how many those were."""
        with self._store.command() as tx:
            held = tx.rows(_LEASED_BY, on_study=name, on_version=version, who=holder)
            for run, token in held:
                leases.release(tx, run.hex(), token)
            return len(held)

    @operation(needs=Role.VIEWER, on="name")
    def holders(self, *, name: str, version: int) -> list[str]:
        """List who holds trials that run."""
        with self._store.query() as tx:
            return [str(holder) for (holder,) in tx.rows(_HOLDERS, on_study=name, on_version=version)]

    def _insert(self, tx: Transaction, wanted: StudyVersion, *, version: int, why: str, parent: str | None) -> StudyVersion:
        run = new_id(self._store.clock)
        params: Params = {"metric": wanted.metric, "goal": "maximize" if wanted.is_maximized else "minimize", "seed": wanted.seed}
        start = self._start(wanted.name, "study", f"study {wanted.name} version {version}", params, parent)
        names = self._store.settler.names
        TrunkFacts().start(tx, ensure_run(tx, to_bytes(run)), start, at_ns=tx.now_ns, epoch=0, names=names)
        rows.join(tx, self._store, run)
        tx.run(
            _ADD_STUDY, name=wanted.name, version=version, run=to_bytes(run), metric=wanted.metric, is_maximized=int(wanted.is_maximized),
            space=wanted.space, objective=wanted.objective, data=wanted.data, sampler=wanted.sampler, seed=wanted.seed,
            budget=wanted.budget, asked=0, told=0, opened_ns=tx.now_ns, why=why,
        )  # fmt: skip
        tx.emit("study", wanted.ref, to_json({"version": version, "why": why}))
        return self._get(tx, wanted.name, version)

    def _start(self, name: str, kind: str, title: str, params: Params, parent: str | None) -> Start:
        return Start(experiment=name, name=title, kind=kind, parent=parent, params=dict(params), user=self._store.actor().name)

    def _end(self, tx: Transaction, name: str, version: int, number: int, run: str, token: int, result: Result) -> None:
        if result.value is not None and math.isnan(result.value):
            raise Misuse("NaN is no result of a trial", hint="tell it as failed")
        tx.run(_TELL, on_study=name, on_version=version)
        changed = tx.run(
            _END_TRIAL, on_study=name, on_version=version, on_number=number, new_status=result.status, new_value=result.value,
            new_step=result.step, new_error=result.error, new_told_ns=tx.now_ns,
            new_told=tx.value(_TOLD, on_study=name, on_version=version),
        )  # fmt: skip
        if changed != 1:
            raise leases.stale(run, token)
        rows.end_leased(tx, RunId(run), token, result.status)  # refuses an old token, and all of this is undone
        tx.emit("trial", f"run:{run}", to_json({"study": name, "version": version, "number": number, "status": result.status}))

    def _get(self, tx: Transaction, name: str, version: int) -> StudyVersion:
        found = tx.row(_ONE_VERSION, on_study=name, on_version=version)
        if found is None:
            raise NotFound(f"study {name!r} has no version {version}", hint="list studies with `stratal study list`")
        return _version(found)


def _version(row: Row) -> StudyVersion:
    values = dict(zip(StudyVersion.__struct_fields__, row, strict=True))
    return StudyVersion(**{**values, "run": values["run"].hex(), "is_maximized": bool(values["is_maximized"])})


def _trial(row: Row) -> Trial:
    values = dict(zip(Trial.__struct_fields__, row, strict=True))
    return Trial(**{**values, "run": values["run"].hex(), "params": from_json(values["params"], Params)})
