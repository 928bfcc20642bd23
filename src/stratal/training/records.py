"""Records of this room."""

from stratal.core.records import Record


class Checkpoint(Record, frozen=True, kw_only=True):
    """A durable state of a job: visible once its row is there, and then whole."""

    run: str
    # Steps done when it was made; training goes on with the step of this number.
    step: int
    # Samples consumed over all ranks: the whole state of the data.
    samples: int
    # What the order of samples depends on, beside `samples`.
    seed: int
    rows: int
    # Where it was made; it loads on any.
    mesh: str
    world_size: int
    epoch: int
    # sha256 of the state, and its size.
    digest: str
    size_bytes: int
    at_ns: int
