"""Tables of results whose first columns hold what people look for, and that show these in a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

import pandas as pd

__all__: list[str] = []


class ResultTable(pd.DataFrame):
    """A data frame that shows its first columns where a terminal is too narrow for all of them.

    pandas then keeps the first and the last columns and leaves out the middle, which for a table with a long text in its last
    column, such as an attack's settings, leaves out every number. Nothing else differs from a data frame.

    Example:
        >>> print(
        ...     ResultTable(
        ...         {
        ...             "accuracy": [0.5],
        ...             "name": ["a long name " * 9],
        ...             "settings": ["a long text " * 9],
        ...         }
        ...     )
        ... )
           accuracy                                               name
        0       0.5  a long name a long name a long name a long nam...
        [not shown: settings]
    """

    @property
    def _constructor(self) -> type[ResultTable]:
        return ResultTable

    def __repr__(self) -> str:
        """As many of the first columns as the terminal's width holds, and the names of the others."""
        head = pd.DataFrame(self)
        whole = repr(head)
        width = shutil.get_terminal_size().columns
        # A user who set the number of columns, and a notebook, get what pandas makes of it.
        if pd.get_option("display.max_columns") != 0 or not self.columns.is_unique or len(self.columns) < 2:
            return whole
        limits = {name: pd.get_option(f"display.{name}") for name in ("max_rows", "min_rows", "max_colwidth")}
        for count in range(len(self.columns), 0, -1):
            text = head.iloc[:, :count].to_string(**limits)
            if max(map(len, text.split("\n"))) < width:
                break
        left = list(map(str, self.columns[count:]))
        if not left:
            return whole
        cut = limits["max_rows"] is not None and len(self) > limits["max_rows"]
        note = f"[{f'{len(self)} rows; ' if cut else ''}not shown: {', '.join(left)}]"
        return "\n".join([text, *textwrap.wrap(note, width - 1, subsequent_indent=" ")])


def result_table(table: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    """The table with these columns first, in this order; the others follow in theirs.

    Example:
        >>> list(result_table(pd.DataFrame({"a": [1], "b": [2], "c": [3]}), ["c", "x"]))
        ['c', 'a', 'b']
    """
    found = [name for name in first if name in table]
    return ResultTable(table[[*found, *(name for name in table if name not in first)]])
