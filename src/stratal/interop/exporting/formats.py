"""Files of tables: Parquet, CSV and JSON lines. Each takes frames of one schema, one after the other, and holds few of them.

CSV: a text that a spreadsheet would run as a formula gets an apostrophe before it, and so does a text that begins with an
apostrophe, so that taking one away gives the text back. NaN and infinities are NaN, inf, -inf; nothing is an empty cell, an
empty text is "". JSON: one object a line; NaN and infinities are the texts "NaN", "Infinity", "-Infinity".
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from stratal.core.records import number_to_json

# Rows of a Parquet row group, and what is held before it is written: some 20 MB of points.
GROUP = 200_000
TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"
# What spreadsheets take for the beginning of a formula (OWASP, "CSV injection"), and our own escape.
_DANGEROUS = r"^[=+\-@\t\r\n＝＋－＠']"


class TableFile(Protocol):
    """Laws: 1 the rows come back in the order of `write`. 2 memory is bounded, however many rows pass. 3 `close` makes the file."""

    rows: int

    def write(self, frame: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class ParquetFile:
    """One Parquet file. Row groups are written as files of their own, and joined at the end."""

    def __init__(self, path: Path, schema: Mapping[str, pl.DataType]) -> None:
        self._path, self._schema = path, schema
        self._held: list[pl.DataFrame] = []
        self._held_rows = 0
        self._parts: list[Path] = []
        self.rows = 0

    def write(self, frame: pl.DataFrame) -> None:
        self.rows += frame.height
        self._held.append(frame)
        self._held_rows += frame.height
        if self._held_rows >= GROUP:
            self._flush()

    def close(self) -> None:
        if self._held or not self._parts:
            self._flush()
        if len(self._parts) == 1:
            self._parts[0].rename(self._path)
            return
        pl.scan_parquet(self._parts).sink_parquet(self._path, compression="zstd", row_group_size=GROUP)
        for part in self._parts:
            part.unlink()

    def _flush(self) -> None:
        frame = pl.concat(self._held) if self._held else pl.DataFrame(schema=self._schema)
        self._parts.append(self._path.with_suffix(f".{len(self._parts):06d}.part"))
        frame.write_parquet(self._parts[-1], compression="zstd")
        self._held, self._held_rows = [], 0


class CsvFile:
    """One CSV file with a line of names, in UTF-8, texts in quotes."""

    def __init__(self, path: Path, schema: Mapping[str, pl.DataType]) -> None:
        self._path = path
        self.rows = 0
        self._append(pl.DataFrame(schema=schema), header=True)

    def write(self, frame: pl.DataFrame) -> None:
        self.rows += frame.height
        self._append(frame, header=False)

    def close(self) -> None:
        """Do nothing: each write ends with all of it in the file."""

    def _append(self, frame: pl.DataFrame, *, header: bool) -> None:
        safe = frame.with_columns(_harmless(name) for name, dtype in frame.schema.items() if dtype == pl.String)
        with self._path.open("ab") as file:
            safe.write_csv(file, include_header=header, quote_style="non_numeric", datetime_format=TIME)


class JsonFile:
    """One file of JSON objects, a line each."""

    def __init__(self, path: Path, _schema: Mapping[str, pl.DataType]) -> None:
        self._path = path
        self.rows = 0
        path.touch()

    def write(self, frame: pl.DataFrame) -> None:
        times = [pl.col(name).dt.strftime(TIME) for name, dtype in frame.schema.items() if dtype == pl.Datetime]
        rows = frame.with_columns(times).to_dicts()
        for name in [name for name, dtype in frame.schema.items() if dtype == pl.Float64 and not frame[name].is_finite().all()]:
            for row in rows:
                row[name] = _plain(row[name])
        self._append(rows)

    def write_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Write objects that no table could hold."""
        self._append([_plain(row) for row in rows])

    def close(self) -> None:
        """Do nothing: each write ends with all of it in the file."""

    def _append(self, rows: Sequence[object]) -> None:
        self.rows += len(rows)
        with self._path.open("ab") as file:
            file.write(msgspec.json.Encoder().encode_lines(rows))


def _plain(value: object) -> object:
    """Give what JSON can hold: odd numbers as texts, at any depth."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return number_to_json(value) if isinstance(value, float) else value


def _harmless(name: str) -> pl.Expr:
    text = pl.col(name)
    return pl.when(text.str.contains(_DANGEROUS)).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)
