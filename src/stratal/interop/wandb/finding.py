"""`.wandb` files under a folder. Several folders with one run id are the processes that went on with it."""

from pathlib import Path

from stratal.core.errors import Damaged, Misuse
from stratal.interop.bounds import walk
from stratal.interop.foreign import ForeignId, Remark
from stratal.interop.importing import Options
from stratal.interop.port import Found, Source
from stratal.interop.protobuf import text
from stratal.interop.wandb.container import read_records
from stratal.interop.wandb.messages import read_message, time_of
from stratal.interop.wandb.reading import WandbFile

# Folders and links of W&B's own, in which no run lies.
_WITHOUT = frozenset(("files", "logs", "tmp", "latest-run", "debug.log", "debug-internal.log", "debug-core.log", "debug-cli.log"))
# The record that names the run comes second; a file that has not come to it after so many is none of ours.
_MOST_LOOKED_AT = 100


def find(path: Path, options: Options) -> Found:
    """Find a `.wandb` file, or those of a run's folder, of a wandb folder, or of any folder above."""
    remarks: list[Remark] = []
    if path.is_file():
        files = [path] if path.suffix == ".wandb" else []
    else:
        files = [at / name for at, names in walk(path, remarks, without=_WITHOUT) for name in names if name.endswith(".wandb")]
    found: list[WandbFile] = []
    for file in files:
        try:
            source = _open(file, options)
        except Misuse as error:
            remarks.append(Remark(error.message, is_loss=True))
            continue
        if source is None:
            remarks.append(Remark(f"{file} does not name its run (yet)"))
        else:
            found.append(source)
    ordered: list[Source] = sorted(found, key=lambda source: (source.run.started_ns, source.name))
    return Found(ordered, remarks)


def _open(path: Path, options: Options) -> WandbFile | None:
    for number, record in enumerate(read_records(path)):
        if isinstance(record, Remark) or number > _MOST_LOOKED_AT:
            return None
        if record.damage:
            continue
        try:
            message = read_message(record.data)
            if message.kind != "run":
                continue
            started_ns = time_of(message.fields, 17, 0)
        except Damaged:
            continue
        entity, project, id = (text(message.fields, number) for number in (2, 3, 1))
        store = "/".join(part for part in (entity, project or "uncategorized") if part)
        run = ForeignId(tool="wandb", store=store, run=id, started_ns=started_ns)
        return WandbFile(path, run=run, part=str(started_ns), experiment=options.experiment or store, staged=options.files)
    return None
