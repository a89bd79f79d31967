"""A run's table on the terminal."""

from rich.table import Table

from assimilate.pages.metrics import compare
from assimilate.pages.run import Run


def run_table(run: Run) -> Table | None:
    """What the run reached beside its floors, its baseline and the paper; None where nothing was measured."""
    columns = compare(run)
    table = Table(title=run.title, title_justify="left", title_style="bold")
    for name in columns:
        style = "bold" if name == "this run" else None
        table.add_column(name, justify="right" if name else "left", no_wrap=name not in run.floors, style=style)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table if columns else None
