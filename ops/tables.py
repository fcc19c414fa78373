"""A table on the terminal, as wide as it needs to be, plain enough for grep and awk."""

from collections.abc import Sequence

import typer


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(each[place]) for each in [header, *rows]) for place in range(len(header))]
    for row in [header, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
