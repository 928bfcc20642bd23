"""The mesh: how ranks share the work, written as text. `dp=2` is two data-parallel ranks; `dp` takes all there are."""

import difflib
import re

from stratal.core.errors import Misuse
from stratal.core.records import Record

# Axes that the grammar knows. Only `dp` runs in this version; the others are refused by name, not taken for typing errors.
AXES = {
    "dp": "data parallel",
    "zero1": "optimizer state sharded over data-parallel ranks",
    "fsdp": "parameters sharded over data-parallel ranks",
    "hsdp": "parameters sharded within groups of data-parallel ranks",
    "tp": "tensor parallel",
    "pp": "pipeline parallel",
    "cp": "context parallel",
    "auto": "chosen from the model and the machine",
}
AVAILABLE = ("dp",)
_PART = re.compile(r"\s*(?P<axis>[A-Za-z_][A-Za-z0-9_]*)\s*(?:=\s*(?P<size>[^=]*?)\s*)?")


class Mesh(Record, frozen=True, kw_only=True):
    """Data-parallel ranks. `dp` None: all ranks of the moment."""

    dp: int | None = None

    def __str__(self) -> str:
        return "dp" if self.dp is None else f"dp={self.dp}"

    def on(self, world_size: int) -> "Mesh":
        """Give this mesh with its size filled in. Raises Misuse if it needs another number of ranks.

        One rank takes any mesh: results do not depend on the number of ranks, only speed does.
        """
        if self.dp not in (None, world_size) and world_size != 1:
            raise Misuse(
                f"mesh {str(self)!r} needs {self.dp} ranks, but {world_size} were started",
                hint=f'start {self.dp} ranks (--workers {self.dp}), or write mesh="dp" to use all there are',
            )
        return Mesh(dp=world_size)


def parse_mesh(text: str) -> Mesh:
    """Read a mesh: axes with sizes, separated by commas. Raises Misuse, with the reason, for one that cannot run."""
    sizes: dict[str, int | None] = {}
    for part in text.split(","):
        axis, size = _read_axis(text, part)
        if axis in sizes:
            raise Misuse(f"mesh {text!r} names the axis {axis!r} twice", hint="multiply its sizes into one")
        sizes[axis] = size
    _check_combination(text, sizes)
    if missing := [axis for axis in sizes if axis not in AVAILABLE]:
        names = " and ".join(f"{axis!r} ({AXES[axis]})" for axis in missing)
        raise Misuse(f"mesh {text!r}: {names} is not available yet in this version", hint='this version runs "dp" and "dp=N"')
    return Mesh(dp=sizes["dp"])


def _read_axis(text: str, part: str) -> tuple[str, int | None]:
    match = _PART.fullmatch(part)
    if match is None:
        raise Misuse(f"mesh {text!r} cannot be read at {part.strip()!r}", hint='write axes with sizes, like "dp=2" or "dp"')
    axis, size = match["axis"].lower(), match["size"]
    if axis not in AXES:
        near = difflib.get_close_matches(axis, AXES, n=1)
        raise Misuse(
            f"mesh {text!r}: there is no axis {axis!r}", hint=f"did you mean {near[0]!r}?" if near else f"axes are: {', '.join(AXES)}"
        )
    if size is None:
        return axis, None
    if not size.isascii() or not size.isdigit() or int(size) < 1:
        raise Misuse(
            f"mesh {text!r}: the size of {axis!r} is {size!r}, not a number of ranks", hint=f'write "{axis}=2", or "{axis}" for all ranks'
        )
    return axis, int(size)


def _check_combination(text: str, sizes: dict[str, int | None]) -> None:
    if "auto" in sizes and len(sizes) > 1:
        raise Misuse(f"mesh {text!r}: 'auto' chooses all axes, so it stands alone", hint='write mesh="auto", or name the axes yourself')
    if "zero1" in sizes and "fsdp" in sizes:
        raise Misuse(f"mesh {text!r}: 'fsdp' already shards the optimizer state, so 'zero1' adds nothing", hint="keep one of the two")
    if "hsdp" in sizes and ("fsdp" in sizes or "dp" in sizes):
        raise Misuse(
            f"mesh {text!r}: 'hsdp' already is data parallel outside and sharded inside", hint="keep 'hsdp' alone, or write dp and fsdp"
        )
    unsized = [axis for axis, size in sizes.items() if size is None]
    if len(unsized) > 1:
        raise Misuse(
            f"mesh {text!r}: only one axis can take all remaining ranks, not {' and '.join(unsized)}", hint="give the others a size"
        )
