"""A run's table on the terminal."""

from rich.table import Table

from assimilate.pages.metrics import compare
from assimilate.pages.run import Run


def run_table(run: Run) -> Table | None:
    """What the run reached beside its floors, its baseline and the paper; None where nothing was measured."""
    columns = compare(run)
    table = Table(title=run.title, title_justify="left", title_style="bold")
    for name, cells in columns.items():
        style, unbroken = "bold" if name == "this run" else None, any(" " in cell for cell in cells)
        table.add_column(name, justify="right" if name else "left", no_wrap=unbroken, style=style)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    return table if columns else None
