"""Tables on the terminal; in a pipe, as wide as they need to be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from io import StringIO

__all__ = ["print_table"]

WIDTH_IN_A_PIPE = 200


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A titled table; the first column is text, the others are aligned to the right."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    text = StringIO()  # not stdout itself: rich would turn a closed pipe into exit code 1
    console = Console(file=text, force_terminal=sys.stdout.isatty(), width=_width())
    console.print(table)
    sys.stdout.write("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_IN_A_PIPE
