"""Where source stands: files parsed once, definitions found in them by name, and whose a module is."""

import ast
import functools
import importlib.metadata
import importlib.util
import linecache
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from stratal.version import __version__

OURS = "stratal"


class SourceReader:
    """Parses each file once. Finds definitions by their qualified name, so that a file edited after its import is read as it is now:
    fresh workers import it as it is now, too."""

    def __init__(self) -> None:
        self._trees: dict[str, ast.Module | None] = {}

    def function(self, function: FunctionType) -> ast.AST | None:
        """Give the `def` of a function; None for a lambda, or where there is no source."""
        code = function.__code__
        found = [
            node
            for node in self._definitions(code.co_filename, function.__qualname__)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        at_line = [node for node in found if min([node.lineno, *(one.lineno for one in node.decorator_list)]) == code.co_firstlineno]
        best = at_line or found
        return best[-1] if best else None

    def class_(self, found: type) -> ast.AST | None:
        """Give the `class` statement of a class, None where there is no source."""
        methods = [member.__code__.co_filename for member in vars(found).values() if isinstance(member, FunctionType)]
        files = [*methods, getattr(sys.modules.get(found.__module__), "__file__", None)]
        for file in dict.fromkeys(file for file in files if file):
            nodes = [node for node in self._definitions(file, found.__qualname__) if isinstance(node, ast.ClassDef)]
            if nodes:
                return nodes[-1]
        return None

    def module(self, name: str) -> ast.Module | None:
        """Give the tree of a module, None where there is no source."""
        file = getattr(sys.modules.get(name), "__file__", None)
        return self._tree(file) if file else None

    def assignments(self, module: str, name: str) -> list[ast.stmt]:
        """Give the statements at the module's level that assign to the name, in order."""
        tree = self.module(module)
        return [one for one in _own_statements(tree) if name in _targets(one)] if tree is not None else []

    def imported_from(self, module: ModuleType, name: str) -> list[tuple[str, str]]:
        """Give (module, name there) for the imports that bring the name into the module."""
        tree = self.module(module.__name__)
        package = str(getattr(module, "__package__", None) or "")
        found: list[tuple[str, str]] = []
        for one in _own_statements(tree) if tree is not None else ():
            if isinstance(one, ast.ImportFrom):
                found += [(_absolute(one, package), alias.name) for alias in one.names if (alias.asname or alias.name) == name]
        return found

    def _tree(self, file: str) -> ast.Module | None:
        if file not in self._trees:
            linecache.checkcache(file)
            try:
                self._trees[file] = ast.parse("".join(linecache.getlines(file)))
            except (SyntaxError, ValueError):
                self._trees[file] = None
        tree = self._trees[file]
        return tree if tree is not None and tree.body else None

    def _definitions(self, file: str, qualname: str) -> list[ast.AST]:
        nodes: list[ast.AST] = [tree] if (tree := self._tree(file)) is not None else []
        for part in qualname.split("."):
            if part != "<locals>":
                nodes = [one for node in nodes for one in _own_statements(node) if getattr(one, "name", None) == part]
        return nodes


def named_imports(tree: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """Give (module, name) for each import below the node; name is None for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((_absolute(node, package), alias.name) for alias in node.names)


def belongs_to_project(module: str, home: str) -> bool:
    """Tell whether a module is the user's: not built in, not installed, not ours. `home`, a step's module, and its package always are."""
    package = home.rpartition(".")[0]
    if module in (home, "__main__") or (package and (module == package or module.startswith(package + "."))):
        return True
    top = module.split(".", maxsplit=1)[0]
    if top == OURS or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    file = _file_of(module)
    return file is None or not _is_installed(file)


def display_module(module: str) -> str:
    """Give the name that a module has for people: `__main__` is called as if it had been imported."""
    if module != "__main__":
        return module
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


@functools.cache
def distribution_version(top: str) -> str:
    """Give the version of the installed package that holds a top-level module, "" if none says so."""
    if top == OURS:
        return __version__  # it need not be installed
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        pass
    found = _distributions().get(top)
    return importlib.metadata.version(found[0]) if found else ""


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _file_of(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001  looking for a submodule imports its package, which is the user's code
        return None
    return spec.origin if spec is not None else None


@functools.cache
def _is_installed(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    homes = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(Path(home).resolve()) for home in homes if home)


def _own_statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Give the statements of a scope, also those under if, try, for and with, but not those of inner functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own_statements(child)


def _targets(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.Assign):
        trees = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        trees = [statement.target]
    else:
        return set()
    return {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base
