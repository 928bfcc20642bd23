"""Studies: the verb that users type, and what it gives."""

import logging
import secrets
from dataclasses import dataclass, replace

from stratal.core.errors import Misuse, NotFound
from stratal.store.store import Store
from stratal.tracking.active import active_run
from stratal.tracking.facts import check_name
from stratal.tracking.opening import current_store
from stratal.tracking.refs import Ref, Resolved
from stratal.tracking.values import Params
from stratal.tuning.again import trial_asked, try_if_asked
from stratal.tuning.identity import data_digest, objective_digest
from stratal.tuning.optimizing import OnTrial, bring_to_budget
from stratal.tuning.replaying import replay
from stratal.tuning.samplers.known import plan_of
from stratal.tuning.samplers.port import SamplerPlan
from stratal.tuning.samplers.tpe import TPE
from stratal.tuning.space import Space, SpaceLike, as_space
from stratal.tuning.stoppers.port import Stopper
from stratal.tuning.store import StudyStore
from stratal.tuning.trials import StudyVersion, Trial, best_of
from stratal.tuning.trying import Objective
from stratal.tuning.working import Order, space_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A search for good params. `version` is None until `optimize` has told which objective and data it is about."""

    name: str
    space: Space
    metric: str
    is_maximized: bool
    sampler: SamplerPlan
    stopper: Stopper | None
    seed: int | None
    store: Store
    version: StudyVersion | None = None

    def optimize(
        self, objective: Objective, *, data: object = None, trials: int = 40, workers: int = 2, on_trial: OnTrial | None = None
    ) -> "Study":
        """Bring the study to `trials` trials in all, and give it. What was tried before counts, also before a crash.

        objective: called as objective(trial), or objective(trial, data) if there is data; returns the metric, or a dict of metrics
        with it, or nothing after reports (the last one counts). A change of the objective, the data or the space opens a new version.
        workers: processes of this machine; with 1 the objective runs right here. on_trial: called with each result, in this process.
        Raises Refused if the first trials all fail.
        """
        if trials < 1 or workers < 1:
            raise Misuse(f"optimize(trials={trials}, workers={workers}): both must be 1 or more")
        if not callable(objective):
            raise Misuse(f"the objective is a {type(objective).__name__}, not a function", hint="pass the function itself, without ()")
        spare_seed = secrets.randbits(32)
        wanted = StudyVersion(
            name=self.name, version=0, run="", metric=self.metric, is_maximized=self.is_maximized, space=self.space.to_json(),
            objective=objective_digest(objective), data=data_digest(data), sampler=self.sampler.describe(),
            seed=spare_seed if self.seed is None else self.seed, budget=trials, asked=0, told=0, opened_ns=0, why="",
        )  # fmt: skip
        if (asked := trial_asked()) is not None:
            try_if_asked(asked, wanted, objective, data, is_seed_free=self.seed is None)
        opened = StudyStore(self.store).open_version(
            name=self.name, metric=wanted.metric, is_maximized=wanted.is_maximized, space=wanted.space, objective=wanted.objective,
            data=wanted.data, sampler=wanted.sampler, seed=self.seed, spare_seed=spare_seed, budget=trials, parent=self._parent(),
        )  # fmt: skip
        version = opened.version
        if opened.is_new and version.version > 1:
            log.warning("study %s: version %d is opened, because %s; earlier results do not count", self.name, version.version, version.why)
        order = Order(version=version, trials=trials, sampler=self.sampler, stopper=self.stopper, objective=objective, data=data)
        bring_to_budget(self.store, order, workers=workers, on_trial=on_trial)
        return replace(self, version=StudyStore(self.store).version(name=self.name, version=version.version))

    def _parent(self) -> str | None:
        """The run that this study is part of: a pipeline's step, if one is being run here."""
        active = active_run()
        return active.id if active is not None and active.store.url == self.store.url else None

    @property
    def trials(self) -> list[Trial]:
        """All trials by number, as they are now."""
        if self.version is None:
            raise NotFound(f"study {self.name!r} has no trials yet", hint="call .optimize(objective) first")
        return StudyStore(self.store).trials(name=self.name, version=self.version.version)

    @property
    def best(self) -> Trial:
        """The finished trial with the best value. Raises NotFound if none has finished."""
        trials = self.trials
        assert self.version is not None  # or there are no trials
        found = best_of(self.version, trials)
        if found is None:
            raise NotFound(f"no trial of study {self.name!r} has finished", hint=f"see why: stratal study show {self.name}")
        return found

    def replay(self) -> list[Params]:
        """Propose the params of each trial again, from the seed and what each proposal knew: equal to those of `.trials`."""
        trials = self.trials
        assert self.version is not None  # as above
        return replay(self.version, trials, self.sampler)


def study(
    name: str, space: SpaceLike, *, maximize: str | None = None, minimize: str | None = None, sampler: SamplerPlan | None = None,
    stopper: Stopper | None = None, seed: int | None = None, store: Store | None = None,
) -> Study:  # fmt: skip
    """Describe a search for the params that maximize or minimize a metric; `.optimize(objective)` runs it.

    sampler: default TPE. stopper: default none. seed: None draws one, which is kept, so that the study can be replayed anyway.
    Raises Misuse for a space that is none, or unless exactly one of maximize and minimize is given.
    """
    check_name("study", name)
    if (maximize is None) == (minimize is None):
        raise Misuse("a study has one goal", hint='write maximize="auc" or minimize="loss"')
    metric = maximize if maximize is not None else minimize
    assert metric is not None  # one of them is
    check_name("metric", metric)
    sampler = sampler or TPE()
    if isinstance(sampler, type) or not isinstance(sampler, SamplerPlan):
        raise Misuse(f"{sampler!r} is no sampler", hint="write sampler=st.TPE() or st.Random()")
    if stopper is not None and (isinstance(stopper, type) or not isinstance(stopper, Stopper)):
        raise Misuse(f"{stopper!r} is no stopper", hint="write stopper=st.Median()")
    if seed is not None and not 0 <= seed < 2**63:
        raise Misuse(f"seed = {seed}", hint="a seed is a whole number from 0 to 2**63 - 1")
    return Study(
        name=name, space=as_space(space), metric=metric, is_maximized=maximize is not None, sampler=sampler, stopper=stopper, seed=seed,
        store=store or current_store(),
    )  # fmt: skip


def find_study(name: str, *, version: int | None = None, store: Store | None = None) -> Study:
    """Give a study that was run before, by default its newest version: to read its trials, or to go on with it.

    Raises NotFound.
    """
    store = store or current_store()
    found = StudyStore(store).version(name=name.removeprefix("study:"), version=version)
    return Study(
        name=found.name, space=space_of(found), metric=found.metric, is_maximized=found.is_maximized, sampler=plan_of(found.sampler),
        stopper=None, seed=found.seed, store=store, version=found,
    )  # fmt: skip


def resolve_study(ref: Ref, store: Store) -> Resolved:
    """Resolve a study ref for the resolver table. Its digest is that of its identity: space, objective, data, goal, sampler, seed."""
    if ref.kind != "study":
        raise Misuse(f"{ref} is no study", hint="write study:NAME")
    study = find_study(ref.name, store=store)
    assert study.version is not None  # it was found
    return Resolved(ref=ref, digest=study.version.digest, value=study)
