"""CSV and TSV tables from others, of any encoding and separator: read correctly, or refused with one sentence."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__: list[str] = []

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_UNNAMED = re.compile(r"(Unnamed: \d+)?")


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a table with named columns, each of numbers or of text; an empty cell becomes NaN.

    The first row decides the separator: comma, semicolon (numbers then have a decimal comma, as spreadsheets of many
    countries write them) or tab. A first column without a name that counts the rows is left out with a warning: it is the
    index that ``DataFrame.to_csv`` writes by default.

    Args:
        path: A file of UTF-8 text, or of UTF-16 or UTF-32 that begins with a byte order mark.

    Returns:
        A table with the names of the file, without blanks around them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no text, has no rows, no names, a row of another length, or an unnamed column that doesn't
            count the rows. The message names the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "table.csv"
        >>> _ = path.write_text("stimulus;v1;v2\n1;1,5;2,5\n2;3,0;4,0\n")
        >>> read_table(path)["v1"].tolist()
        [1.5, 3.0]
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    encoding = _encoding(path)
    try:
        names, first, separator = _head(path, encoding)
        if first is None:
            raise ValueError(f"{path} holds nothing below its first row, which names the columns")
        if len(first) > len(names):
            raise ValueError(f"{path}: the first row has {len(names)} names, but the second {len(first)} cells")
        identities = dict.fromkeys(n for n in names if n.strip().casefold() == "stimulus")
        table = _parse(path, encoding, separator, list(identities))
        if table.shape[1] != len(names):
            raise ValueError(f"{path}: the first row has {len(names)} names, but the table {table.shape[1]} columns")
        _refuse_short_rows(path, encoding, separator, table)
    except UnicodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}): save it as CSV in UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(f"{path} can't be read as a table: {' '.join(str(error).split())}") from None
    table.columns = pd.Index([name.strip() for name in names])
    return _named(path, table)


def numbers_of(path: Path, table: pd.DataFrame, what: str) -> np.ndarray:
    """All columns as numbers, (row, column) float32.

    Args:
        path: For the message.
        table: A table from :func:`read_table`.
        what: What every column should be, for the message.

    Raises:
        ValueError: If a column holds text; the message names the column and a row.
    """
    import pandas as pd

    is_number = pd.api.types.is_numeric_dtype
    columns, wrong = [], {}
    for place in (place for place, kind in enumerate(table.dtypes) if not is_number(kind)):
        column = table.iloc[:, place]
        numbers = pd.to_numeric(column, errors="coerce")
        bad = (numbers.isna() & column.notna()).to_numpy()
        if bad.any():
            wrong[str(table.columns[place])] = f"row {bad.argmax()} (from 0) of it holds {column.iloc[bad.argmax()]!r}"
        columns.append((place, numbers))
    if wrong:
        first = next(iter(wrong))
        raise ValueError(
            f"{path}: columns {list(wrong)} are not numbers; {what} ({wrong[first]}; numbers are written like 1.5, missing "
            "ones are empty)"
        )
    with np.errstate(over="ignore"):  # as_values refuses infinite values in words
        values = np.empty(table.shape, dtype=np.float32) if columns else table.to_numpy(dtype=np.float32)
        if columns:
            for place in range(table.shape[1]):
                values[:, place] = dict(columns).get(place, table.iloc[:, place]).to_numpy(dtype=np.float32)
    return values


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.strip():
        raise ValueError(f"{path} is empty")
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        raise ValueError(
            f"{path} is no text (is it a spreadsheet, or UTF-16 without its mark?): save it as CSV in UTF-8"
        )
    return "utf-8"


def _open(path: Path, encoding: str) -> TextIO:
    return path.open(encoding=encoding, newline="")


def _head(path: Path, encoding: str) -> tuple[list[str], list[str] | None, str]:
    """Cells of the first row and of the second one (None if there is none), and the separator."""
    with _open(path, encoding) as file:
        lines = [line for line, _ in zip((line for line in file if line.strip()), range(2))]
    if not lines:
        raise ValueError(f"{path} is empty")
    bare = re.sub(r'"[^"]*"', "", lines[0])
    counts = {separator: bare.count(separator) for separator in ",;\t"}
    separator = max(counts, key=lambda s: counts[s]) if any(counts.values()) else "," if path.suffix != ".tsv" else "\t"
    rows = [next(csv.reader([line.rstrip("\r\n")], delimiter=separator)) for line in lines]
    return rows[0], rows[1] if len(rows) > 1 else None, separator


def _parse(path: Path, encoding: str, separator: str, identities: list[str]) -> pd.DataFrame:
    import pandas as pd

    # Identities are read as text first: as numbers, "001" and "1" would be the same image.
    options: dict[str, Any] = {
        "sep": separator,
        "encoding": encoding,
        "index_col": False,
        "dtype": dict.fromkeys(identities, str),
    }
    if separator != ";":
        table = pd.read_csv(path, **options)
    else:
        tables = [pd.read_csv(path, **options, decimal=decimal) for decimal in (",", ".")]
        table = min(tables, key=lambda table: sum(not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes))
    for name in identities:
        texts = table[name]
        if not texts.str.fullmatch(r"\s*0\d+\s*", na=False).any():
            table[name] = _numbers_or_texts(texts, "," if separator == ";" else ".")
    return table


def _numbers_or_texts(texts: pd.Series, decimal: str) -> pd.Series:
    import pandas as pd

    try:
        return pd.to_numeric(texts.str.replace(decimal, "."))
    except (ValueError, TypeError):
        return texts.infer_objects()


def _refuse_short_rows(path: Path, encoding: str, separator: str, table: pd.DataFrame) -> None:
    """Refuse a row with too few cells: pandas fills it with missing ones, so only rows that end in NaN are checked."""
    suspects = set(np.flatnonzero(table.iloc[:, -1].isna().to_numpy()).tolist()) if table.shape[1] > 1 else set()
    if not suspects:
        return
    with _open(path, encoding) as file:
        for row, (number, line) in enumerate(_rows(file), -1):
            if line.count('"') % 2:  # a cell continues in the next line: from here on lines are not rows
                return
            if row in suspects and '"' not in line and line.count(separator) != table.shape[1] - 1:
                raise ValueError(f"{path}: line {number} has {line.count(separator) + 1} cells, where others have "
                                 f"{table.shape[1]}: was it cut?")  # fmt: skip


def _rows(file: TextIO) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, 1) if line.strip("\r\n"))


def _named(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    while table.shape[1] > 1 and _UNNAMED.fullmatch(table.columns[0]) and _counts_rows(table.iloc[:, 0]):
        warnings.warn(
            f"{path}: its first column has no name and counts the rows, as the index of DataFrame.to_csv does; it is left "
            "out (index=False doesn't write it)",
            stacklevel=5,
        )
        table = table.iloc[:, 1:]
    unnamed = [place for place, name in enumerate(table.columns) if _UNNAMED.fullmatch(name)]
    if unnamed:
        raise ValueError(
            f"{path}: column {unnamed[0] + 1} has no name: name it, or remove it (an index that says which stimulus a row is "
            "is named 'stimulus')"
        )
    names = list(table.columns)
    if names != [str(number) for number in range(len(names))] and (
        _are_numbers(names) or any(_is_fraction(name) for name in names)
    ):
        raise ValueError(
            f"{path}: the first row, {', '.join(names[:3])}, ..., should name the columns, but holds numbers: it would be "
            "lost. Put a row of names above it"
        )
    return table


def _counts_rows(column: pd.Series) -> bool:
    return any(column.tolist() == list(range(start, start + len(column))) for start in (0, 1))


def _are_numbers(names: list[str]) -> bool:
    try:
        [float(name) for name in names if name.strip()]
    except ValueError:
        return False
    return any(name.strip() for name in names)


def _is_fraction(name: str) -> bool:
    try:
        return not float(name).is_integer()
    except (ValueError, OverflowError):
        return False
