"""The small YAML files of a folder store: mappings of scalars, lists and mappings. Read strictly: no tag, no anchor, a bounded size."""

from collections.abc import Mapping
from pathlib import Path

from stratal.core.errors import Damaged, Misuse
from stratal.interop.bounds import MOST_DEPTH

# A dataset's profile is the largest thing in one, and MLflow's own files of it are some kilobytes.
MOST_BYTES = 4 << 20

Meta = Mapping[str, object]


def read_meta(path: Path) -> Meta:
    """Read a meta.yaml. Raises Damaged if it is none, Misuse if there is nothing to read YAML with."""
    try:
        import yaml  # only folder stores need it, and it is an extra
    except ImportError as error:
        raise Misuse("folder stores of MLflow are YAML, and no reader of it is installed", hint="pip install 'stratal[mlflow]'") from error
    if path.stat().st_size > MOST_BYTES:
        raise Damaged(f"{path} has over {MOST_BYTES >> 20} MiB")
    try:
        text = path.read_text("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise Damaged(f"{path} refers to itself, as no file of MLflow does")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise Damaged(f"{path} is nested more than {MOST_DEPTH} deep")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Damaged(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise Damaged(f"{path} holds no record")
    return {str(name): value for name, value in found.items()}


def text_of(meta: Meta, name: str) -> str:
    """Give a value as text, '' where there is none."""
    value = meta.get(name)
    return "" if value is None else str(value)


def number_of(meta: Meta, name: str) -> int | None:
    """Give a whole number, None where there is none."""
    value = meta.get(name)
    try:
        return None if value is None or isinstance(value, bool) else int(str(value))
    except ValueError:
        return None


def texts_of(meta: Meta, name: str) -> dict[str, str]:
    """Give a mapping of texts; anything else is an empty one."""
    value = meta.get(name)
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
