"""The samplers that can be made again from what a study kept of them."""

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.tuning.samplers.port import Sampler, SamplerPlan
from stratal.tuning.samplers.random import Random
from stratal.tuning.samplers.tpe import TPE
from stratal.tuning.space import Space


class ForeignSampler(Record, frozen=True, kw_only=True):
    """The plan of a sampler that a user wrote: it can be named, and only the user can make it."""

    description: str

    def describe(self) -> str:
        return self.description

    def build(self, space: Space, seed: int) -> Sampler:
        """Refuse: the code is the user's."""
        raise Misuse(f"the sampler of this study is not ours: {self.description}", hint="pass it again: st.study(..., sampler=...)")


def plan_of(description: str) -> SamplerPlan:
    """Give the plan that described itself so."""
    try:
        known: TPE | Random = msgspec.json.decode(description, type=TPE | Random)
        return known
    except msgspec.DecodeError:
        return ForeignSampler(description=description)
