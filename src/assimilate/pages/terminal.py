"""A run's table on the terminal."""

from rich import box
from rich.table import Table

from assimilate.pages.metrics import compare
from assimilate.pages.run import Run


def run_table(run: Run) -> Table | None:
    """What the run reached beside its floors, its baseline and the paper; None where nothing was measured.

    In 80 columns headers and names of metrics are broken, numbers never.
    """
    columns = compare(run)
    table = Table(title=run.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 0, 0, 1), False
    for name, cells in columns.items():
        width = max(map(len, [*cells, *name.split()])) if name else None
        style = "bold" if name == "this run" else None
        table.add_column(name, justify="right" if name else "left", width=width, style=style)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    return table if columns else None
