"""Files whose checksums are right and whose messages are not: records of real files, bent at random and framed anew."""

import random
from pathlib import Path

import pytest
from foreign_files import frame, held, wandb_file

from stratal.interop.importing import import_runs
from stratal.interop.tensorboard.frames import read_frames
from stratal.interop.wandb.container import read_records

ROUNDS = 15


def bent(dice: random.Random, data: bytes) -> bytes:
    """Flip a bit, put in a telling byte, cut a piece out, or put one in."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 2, 5))):
        at = dice.randrange(len(out)) if out else 0
        kind = dice.randrange(4) if out else 3
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at] = dice.choice(b'\0\xff\x7f\x80{["')
        elif kind == 2:
            del out[at : at + dice.randrange(1, 8)]
        else:
            out[at:at] = dice.randbytes(dice.randrange(1, 8))
    return bytes(out)


def write(tool: str, dice: random.Random, fixtures: Path, folder: Path) -> None:
    if tool == "wandb":
        records = [record.data for record in read_records(dice.choice(sorted(fixtures.rglob("*.wandb")))) if len(record.data) < 3000]
    else:
        records = [each.data for each in read_frames(dice.choice(sorted(fixtures.rglob("*tfevents*"))))]
    for _ in range(3):
        place = dice.randrange(1, len(records))
        records[place] = bent(dice, records[place])
    if tool == "wandb":
        wandb_file(folder / "run-a.wandb", *records)
    else:
        folder.mkdir(parents=True)
        (folder / "events.out.tfevents.1.host").write_bytes(b"".join(map(frame, records)))


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["wandb", "tensorboard"])
def test_messages_that_are_bent_cost_themselves_only(tool: str, fixtures: Path, fresh_store, tmp_path: Path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for number in range(ROUNDS):
        store = fresh_store()
        write(tool, dice, fixtures, tmp_path / f"r{number}")
        import_runs(tool, tmp_path / f"r{number}", store=store)
        before = held(store)  # everything that came through can be read
        import_runs(tool, tmp_path / f"r{number}", store=store)
        assert held(store) == before
        store.close()
