"""Write docs/architecture.md from the docstrings of the tree: one clause per file. `--check` only says whether it is up to date."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "stratal"
PAGE = ROOT / "docs" / "architecture.md"
FLOORS = [
    ("cli", "testing"), ("server",), ("interop",), ("recipes",),
    ("data", "features", "tuning", "training", "pipelines", "evaluation", "registry"), ("tracking",), ("store", "compute"), ("core",),
]  # fmt: skip
HEAD = """# Architecture

<!-- Made by docs/make_architecture.py from the docstrings; edit those. -->

Floors, from the top. Imports only point down, rooms on one floor never import each other (they meet through facts and
handles in `tracking`, or through ports below), and `make check` holds it.

```
                 cli · testing
                    server
                    interop
                    recipes
  data · features · tuning · training · pipelines · evaluation · registry
                    tracking
                store · compute
                      core
```

**Two paths lead into the store.** *Telemetry* (the start of a run, params, metrics, tags, notes, artifacts, lineage, the end)
goes to the journal of its process: one framed record, one `os.write`, microseconds, kill-safe; such a process touches no
database. *Control* (leases, trials, steps, numbers of versions, registering, promoting, approving) is a command: one database
transaction that first drains the journals it depends on. A compactor moves facts from journals into the database, each
exactly once; readers see both together.

**State machines are tables, rules are pure, I/O is at the edge.** All SQL of a room is in its `tables.py` and `store.py` (or
`store/`). Every folder's docstring says who may come in.
"""


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]


def page() -> str:
    parts = [HEAD]
    for floor in FLOORS:
        for room in floor:
            folder = SOURCE / room
            parts.append(f"\n## {room}\n\n{ast.get_docstring(ast.parse((folder / '__init__.py').read_text()))}\n")
            for path in sorted(folder.rglob("*.py")):
                if path.name != "__init__.py":
                    parts.append(f"- `{path.relative_to(folder).as_posix()}` {first_line(path)}")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else "docs/architecture.md is out of date: python docs/make_architecture.py")
    PAGE.write_text(page())
