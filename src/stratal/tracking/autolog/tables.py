"""Small tables that autolog saves as artifacts."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def to_csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Give a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows(rows)
    return text.getvalue().encode()


def importances(kind: str, values: Mapping[str, float]) -> bytes:
    """Give features and their importance as CSV, the largest first."""
    return to_csv(["feature", kind], [(name, values[name]) for name in sorted(values, key=lambda name: -abs(values[name]))])
