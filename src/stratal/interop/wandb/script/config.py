"""`wandb.config` and `run.summary`: mappings that are also objects, and whose changes go to the run at once."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping

from stratal.interop.wandb.script.settings import Error
from stratal.tracking.definitions import definition_of
from stratal.tracking.documents import unfolded
from stratal.tracking.facts import MetricDefinition


class Config(MutableMapping[str, object]):
    """Settings of a run: by item, by attribute, by update. A value that was set keeps, unless allow_val_change is said."""

    def __init__(self, tell: Callable[[Mapping[str, object]], None], *, may_change: bool = False) -> None:
        self.__dict__["_values"] = {}
        self.__dict__["_tell"] = tell
        self.__dict__["_may_change"] = may_change

    def update(self, values: object = None, /, allow_val_change: bool | None = None, **more: object) -> None:  # type: ignore[override]
        """Set several values. Raises Error where one was set to something else before."""
        said = {**settings_in(values), **more}
        may_change = self._may_change if allow_val_change is None else allow_val_change
        for name, value in said.items():
            if not may_change and name in self._values and self._values[name] != value:
                raise Error(
                    f"config {name!r} is {self._values[name]!r:.60} already, and was to become {value!r:.60}",
                    hint="say config.update({...}, allow_val_change=True)",
                )
        if said:
            self._tell(said)  # first: what it refuses is not set
        self._values.update(said)

    def setdefaults(self, values: Mapping[str, object]) -> None:
        """Set what was not set."""
        self.update({name: value for name, value in dict(values).items() if name not in self._values})

    def inherit(self, values: Mapping[str, object]) -> None:
        """Take over what an earlier part of the run, or the run that it is a fork of, has said already."""
        self._values.update(values)

    def as_dict(self) -> dict[str, object]:
        """Copy the values."""
        return dict(self._values)

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __setitem__(self, name: str, value: object) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        raise Error(f"config {name!r} cannot be taken back", hint="set it to None")

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (self.as_dict(),)  # copied and stored as what it says, without its run

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"config has no {name!r}; it has: {', '.join(self) or 'nothing'}") from None

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._values)

    _values: dict[str, object]
    _tell: Callable[[Mapping[str, object]], None]
    _may_change: bool


def settings_in(values: object) -> dict[str, object]:
    """Give the settings in a dict, or in an object that holds some, by name. Raises Error for others."""
    plain = {} if values is None else unfolded(values)
    if not isinstance(plain, Mapping):
        raise Error(f"{values!r:.60} holds no settings", hint="give a dict, or an object with named fields")
    return {str(name): value for name, value in plain.items()}


class Summary(Config):
    """What stands for a run: the last value of each metric, or what `define_metric` said; what is set by hand is told to the run."""

    _counts: dict[str, int]

    def __init__(self, tell: Callable[[Mapping[str, object]], None]) -> None:
        super().__init__(tell, may_change=True)
        self.__dict__["_counts"] = {}

    def take(self, values: Mapping[str, float], definitions: Mapping[str, MetricDefinition]) -> None:
        """Bring it up to date with a row of numbers."""
        for name, value in values.items():
            said, old = definition_of(name, definitions), self._values.get(name)
            count = self._counts[name] = self._counts.get(name, 0) + 1
            is_first = said is None or not isinstance(old, int | float)
            self._values[name] = value if is_first or said is None else _stands(said, old, value, count)


def _stands(said: MetricDefinition, old: object, value: float, count: int) -> float:
    assert isinstance(old, int | float)
    how = said.summary
    if how == "best":
        how = "min" if said.goal == "minimize" else "max"
    match how:
        case "min" | "max":
            if old != old or value != value:  # NaN counts only where there is nothing else
                return value if old != old else old
            return min(old, value) if how == "min" else max(old, value)
        case "mean":
            return old + (value - old) / count
        case "first":
            return old
    return value
