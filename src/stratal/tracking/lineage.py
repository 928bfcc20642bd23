"""Lineage: the tree of what something came from and of what came of it, walked over edges "run used X", "run produced X".

Pure over a function that gives the edges of a ref; the store's is in `reading`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stratal.core.records import Record

USED = "used"
PRODUCED = "produced"
PART_OF = "part of"
DEEPEST = 12  # levels: data, its run, its data ... a chain of six runs
MOST = 400  # nodes of one way: what a person can still read, and a bound on queries


class Edge(Record, frozen=True, kw_only=True):
    """A run used or produced something, or is part of another run.

    run: a whole id; target: a ref or `sha256:...`; role: data, model, features ..."""

    run: str
    verb: str
    target: str
    role: str = ""


class Node(Record, frozen=True, kw_only=True):
    """One thing of the tree. relation: how it stands to the node above it (produced by, used, part of; used by, produced).

    is_repeated: its branches are shown where it came first. hidden: branches beyond the bound on depth or nodes."""

    ref: str
    relation: str = ""
    role: str = ""
    is_repeated: bool = False
    hidden: int = 0
    branches: "tuple[Node, ...]" = ()


class Lineage(Record, frozen=True, kw_only=True):
    """Both ways from one ref: `origins` is where it came from, `uses` what came of it."""

    ref: str
    origins: Node
    uses: Node


EdgesOf = Callable[[str], Sequence[Edge]]


def why(ref: str, edges_of: EdgesOf, *, depth: int = DEEPEST, most: int = MOST) -> Lineage:
    """Walk the edges from a ref (`run:<whole id>`, `dataset:churn@1`, `sha256:...`) both ways.

    edges_of: all edges of a ref: those of a run, or those whose target it is. Asked once per ref and way.
    depth, most: bounds, at which nodes say how many branches they hide. A cycle ends at its first repetition."""
    return Lineage(ref=ref, origins=_walk(ref, edges_of, _ORIGINS, depth, most), uses=_walk(ref, edges_of, _USES, depth, most))


# which edges to follow from a run to targets, and from a target to runs, with the words for it
@dataclass(frozen=True)
class _Way:
    from_run: tuple[str, ...]
    from_target: str
    run_word: str


_ORIGINS = _Way(from_run=(USED, PART_OF), from_target=PRODUCED, run_word="produced by")
_USES = _Way(from_run=(PRODUCED,), from_target=USED, run_word="used by")


@dataclass
class _Branch:
    """A node while it grows."""

    ref: str
    relation: str = ""
    role: str = ""
    is_repeated: bool = False
    hidden: int = 0
    branches: "list[_Branch]" = field(default_factory=list)

    def frozen(self) -> Node:
        return Node(
            ref=self.ref,
            relation=self.relation,
            role=self.role,
            is_repeated=self.is_repeated,
            hidden=self.hidden,
            branches=tuple(branch.frozen() for branch in self.branches),
        )


def _walk(ref: str, edges_of: EdgesOf, way: _Way, depth: int, most: int) -> Node:
    """Breadth first, so that the bound cuts the far end and not the last branch."""
    root = _Branch(ref)
    seen = {ref}
    count = 1
    waiting = deque([(root, 0)])
    while waiting:
        branch, level = waiting.popleft()
        neighbours = _neighbours(branch.ref, edges_of, way)
        room = most - count if level < depth else 0
        branch.hidden = max(0, len(neighbours) - room)
        for neighbour in neighbours[:room] if room > 0 else ():
            count += 1
            branch.branches.append(neighbour)
            if neighbour.ref in seen:
                neighbour.is_repeated = True
            else:
                seen.add(neighbour.ref)
                waiting.append((neighbour, level + 1))
    return root.frozen()


def _neighbours(ref: str, edges_of: EdgesOf, way: _Way) -> list[_Branch]:
    found: dict[str, _Branch] = {}
    for edge in edges_of(ref):
        run = f"run:{edge.run}"
        if run == ref and edge.verb in way.from_run:
            found.setdefault(edge.target, _Branch(edge.target, edge.verb, edge.role))
        elif run != ref and edge.verb == way.from_target:  # also where the target is a run itself
            found.setdefault(run, _Branch(run, way.run_word, edge.role))
    return list(found.values())
