"""What a step's code is: its own source and everything that it reaches in the project, part by part, each with a digest.

Reached are functions, classes, constants and modules by the names that the source uses, closures and defaults included, through any
number of calls. Not the project: the standard library, installed packages (they count by version) and Stratal. Sources are compared
as syntax trees, so comments, layout, docstrings and the options of `@step` do not matter. Not seen: what is looked up by a text at run
time (getattr, plug-ins), files, and globals that are changed after import.
"""

import ast
import copy
import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, MethodType, ModuleType

from stratal.core.records import Record, to_json
from stratal.pipelines.payloads import content_digest
from stratal.pipelines.sources import SourceReader, belongs_to_project, display_module, distribution_version, named_imports


class CodePart(Record, frozen=True, kw_only=True):
    """One thing reached. `kind`: function, class, constant, module, closure."""

    kind: str
    name: str
    digest: str


class StepCode(Record, frozen=True, kw_only=True):
    """The code of a step: its parts in the order of their names, and the installed packages that it uses, with versions."""

    parts: tuple[CodePart, ...]
    libraries: dict[str, str]


def code_of(function: Callable[..., object], reader: SourceReader | None = None) -> StepCode:
    """Give what a function's result depends on. `reader`: share one between the steps of a graph, it parses each file once."""
    walk = _Walk(reader or SourceReader(), home=getattr(_function_in(function), "__module__", "__main__"))
    walk.visit(getattr(function, "__name__", type(function).__name__), function)
    parts = sorted(
        (CodePart(kind=kind, name=name, digest=digest) for (kind, name), digest in walk.parts.items()), key=lambda part: part.name
    )
    return StepCode(parts=tuple(parts), libraries={name: distribution_version(name) for name in sorted(walk.libraries)})


class _Walk:
    def __init__(self, reader: SourceReader, home: str) -> None:
        self.parts: dict[tuple[str, str], str] = {}
        self.libraries: set[str] = set()
        self._reader = reader
        self._home = home
        self._seen: set[int] = set()
        self._kept: list[object] = []  # an id is only good as long as its object lives

    def visit(self, name: str, found: object, holder: ModuleType | None = None) -> None:
        """Take in whatever `name` stands for. `holder`: the module where the name was found."""
        if id(found) in self._seen and not _is_plain(found):
            return
        self._seen.add(id(found))
        self._kept.append(found)
        if isinstance(found, ModuleType):
            self._module(found)
        elif isinstance(found, functools.partial):
            self.visit(name, found.func, holder)
            self._add("constant", f"{name} (partial)", content_digest([list(found.args), dict(found.keywords)]))
        elif isinstance(found, MethodType):
            self.visit(name, found.__self__ if isinstance(found.__self__, type) else type(found.__self__), holder)
        elif isinstance(found, type):
            self._class(found)
        elif (function := _function_in(found)) is not None:
            self._function(function)
        else:
            self._constant(name, found, holder)

    def _function(self, function: FunctionType) -> None:
        # A function made by `exec` without a module's name says "builtins"; those of Python are no FunctionType.
        if function.__module__ not in (None, "builtins") and not self._is_ours(function.__module__, function):
            return
        module = display_module(function.__module__)
        name = f"{module}.{function.__qualname__}"
        tree = self._reader.function(function)
        code_names = _names_in_code(function.__code__)
        if tree is None:
            self._add("function", name, _code_digest(function.__code__))
            chains = {(root, *more) for root in code_names for more in ((), *((attribute,) for attribute in code_names))}
        else:
            tree = _normal(tree, function.__globals__)
            self._add("function", name, _tree_digest(tree))
            chains = _chains(_header(tree)) | {chain for chain in _chains(_body(tree)) if chain[0] in code_names}
            self._imports(tree, function.__globals__)
        self._chains(chains, function.__globals__, function.__module__)
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if value is not function:
                self._closed_over(f"{name}.{free}", value)

    def _closed_over(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType | type) or _function_in(value) is not None:
            self.visit(name, value)
        else:
            self._add("closure", name, content_digest(value))

    def _class(self, found: type) -> None:
        if not self._is_ours(found.__module__, found):
            return
        name = f"{display_module(found.__module__)}.{found.__qualname__}"
        holder = sys.modules.get(found.__module__)
        namespace = vars(holder) if holder is not None else {}
        tree = self._reader.class_(found)
        if tree is None:
            self._add("class", name, _text_digest(sorted(str(key) for key in vars(found))))
        else:
            tree = _normal(tree, namespace)
            self._add("class", name, _tree_digest(tree))
            self._chains(_chains([tree]), namespace, found.__module__)
            self._imports(tree, namespace)
        for base in found.__bases__:
            self.visit(base.__qualname__, base)
        for member in vars(found).values() if tree is None else ():
            if (function := _function_in(member)) is not None:
                self._function(function)

    def _module(self, module: ModuleType) -> None:
        if not self._is_ours(module.__name__, module):
            return
        tree = self._reader.module(module.__name__)
        if tree is not None:
            self._add("module", display_module(module.__name__), _tree_digest(_normal(tree, vars(module))))
            self._chains(_chains([tree]), vars(module), module.__name__)

    def _constant(self, name: str, value: object, holder: ModuleType | None) -> None:
        label = f"{display_module(holder.__name__)}.{name}" if holder is not None else name
        self.visit(type(value).__name__, type(value))
        if (text := _plain_text(value)) is not None:
            self._add("constant", label, _text_digest(text))
        elif holder is None or not self._defined(name, label, holder):
            self._add("constant", label, content_digest(value))

    def _defined(self, name: str, label: str, holder: ModuleType) -> bool:
        """Take in a constant by the statements that define it, where they stand; an installed package counts by its version."""
        if not self._is_ours(holder.__name__, holder):
            return True
        statements = self._reader.assignments(holder.__name__, name)
        if statements:
            self._add("constant", label, _text_digest([ast.dump(_normal(one, vars(holder))) for one in statements]))
            self._chains(_chains(statements) - {(name,)}, vars(holder), holder.__name__)
            return True
        for module, original in self._reader.imported_from(holder, name):
            if (source := sys.modules.get(module)) is not None and source is not holder:
                return self._defined(original, f"{display_module(module)}.{original}", source)
        return False

    def _chains(self, chains: Iterable[tuple[str, ...]], namespace: dict[str, object], module: str) -> None:
        for chain in sorted(chains):
            if chain[0] in namespace and not chain[0].startswith("__"):
                self._follow(chain, namespace[chain[0]], sys.modules.get(module))

    def _follow(self, chain: tuple[str, ...], found: object, holder: ModuleType | None) -> None:
        """Follow `a.b.c` as long as modules lead on, and take in what is found at their end."""
        name, *rest = chain
        while isinstance(found, ModuleType) and rest and self._is_ours(found.__name__, found):
            holder, name = found, rest.pop(0)
            if not hasattr(found, name):
                return
            found = getattr(found, name)
        self.visit(name, found, holder)

    def _imports(self, tree: ast.AST, namespace: dict[str, object]) -> None:
        """Take in what is imported inside of the function."""
        package = str(namespace.get("__package__") or "")
        for module, name in named_imports(tree, package):
            if not belongs_to_project(module, self._home):
                self._library(module)
                continue
            try:
                source = importlib.import_module(module)
            except Exception:  # noqa: BLE001  whatever the user's module raises: the step will say so itself, if it gets there
                continue
            self.visit(name or module, getattr(source, name, None) if name else source, source)

    def _is_ours(self, module: str | None, found: object) -> bool:
        if module is None or module == "builtins" or found is None:
            return False
        if belongs_to_project(module, self._home):
            return True
        self._library(module)
        return False

    def _library(self, module: str) -> None:
        top = module.split(".", maxsplit=1)[0]
        if top not in sys.stdlib_module_names and top != "__main__":
            self.libraries.add(top)

    def _add(self, kind: str, name: str, digest: str) -> None:
        self.parts[kind, name] = digest


def _function_in(found: object) -> FunctionType | None:
    """Find the plain function in a step, a pipeline, a decorated or a static function."""
    seen = 0
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        inner = getattr(found, "__wrapped__", None) or (found.__func__ if isinstance(found, staticmethod | classmethod) else None)
        if inner is None and isinstance(found, property):
            inner = found.fget
        if inner is None or seen > 50:
            return found if isinstance(found, FunctionType) else None
        found, seen = inner, seen + 1
    return found


def _chains(trees: Iterable[ast.AST]) -> set[tuple[str, ...]]:
    """Give the names used, each with the attributes that follow it: `np.linalg.norm(x)` gives (np, linalg, norm) and (x,)."""
    found: set[tuple[str, ...]] = set()
    waiting = list(trees)
    while waiting:
        node = waiting.pop()
        attributes: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            found.add((inner.id, *reversed(attributes)))
        elif isinstance(node, ast.Attribute):
            waiting.append(inner)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _header(tree: ast.AST) -> list[ast.AST]:
    """Decorators, defaults and annotations: evaluated outside of the function's own scope."""
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    return [*tree.decorator_list, tree.args, *([tree.returns] if tree.returns else [])]


def _body(tree: ast.AST) -> list[ast.AST]:
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    return list(tree.body)


class _Normal(ast.NodeTransformer):
    """Drops docstrings, and the decorators of steps and pipelines: how a step runs is not what it gives."""

    def __init__(self, namespace: dict[str, object]) -> None:
        self._namespace = namespace

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            node.body = [one for index, one in enumerate(node.body) if index or not _is_text(one)] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = [one for one in node.decorator_list if not self._is_own(one)]
        return node

    def _is_own(self, decorator: ast.expr) -> bool:
        head = decorator.func if isinstance(decorator, ast.Call) else decorator
        names: list[str] = []
        while isinstance(head, ast.Attribute):
            names.append(head.attr)
            head = head.value
        found = self._namespace.get(head.id) if isinstance(head, ast.Name) else None
        for name in reversed(names):
            found = getattr(found, name, None)
        return getattr(found, "__module__", "") in ("stratal.pipelines.steps", "stratal.pipelines.definition")


def _normal(tree: ast.AST, namespace: dict[str, object]) -> ast.AST:
    normal: ast.AST = _Normal(namespace).visit(copy.deepcopy(tree))
    return normal


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _names_in_code(code: CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names_in_code(constant)
    return found


def _code_digest(code: CodeType) -> str:
    constants = [_code_digest(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return _text_digest([code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames), list(code.co_freevars)])


def _tree_digest(tree: ast.AST) -> str:
    return _text_digest(ast.dump(tree))


def _text_digest(content: object) -> str:
    return hashlib.sha256(to_json(content).encode()).hexdigest()


_SCALARS = (type(None), bool, int, float, complex, str, bytes)


def _is_plain(value: object) -> bool:
    return type(value) in _SCALARS


def _plain_text(value: object) -> str | None:
    """Give a text that equal plain values share, also in another process; None if the value is not plain all through."""
    if type(value) in _SCALARS:
        return f"{type(value).__name__} {value!r}"
    if type(value) not in (tuple, list, set, frozenset, dict):
        return None
    items = value.items() if isinstance(value, dict) else value
    texts = [_plain_text(one) for one in items]  # type: ignore[attr-defined]  # containers all, by the line above
    if None in texts:
        return None
    ordered = sorted(text for text in texts if text) if isinstance(value, set | frozenset) else texts
    return f"{type(value).__name__} {ordered!r}"
