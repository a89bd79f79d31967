"""A run's table on the terminal."""

from rich.table import Table

from assimilate.pages.cells import COMPARABLE_BUDGET
from assimilate.pages.metrics import compare
from assimilate.pages.run import Run


def run_table(run: Run) -> Table | None:
    """What the run reached beside its floors, its baseline and the paper; None where nothing was measured."""
    lines = compare(run)
    if not lines:
        return None
    columns = {floor: [line.floors[floor] for line in lines] for floor in run.floors}
    columns["random"] = [line.untrained for line in lines]
    if run.baseline.artifact:
        columns[f"{run.titles.baseline} (f, seed {run.seed_of_f})"] = [line.baseline for line in lines]
    ours = f"{run.titles.run} (seed {run.place.seed})"
    columns[ours] = [line.run for line in lines]
    if run.baseline.artifact:
        columns["diff."] = [line.difference for line in lines]
    if run.paper and run.place.budget == COMPARABLE_BUDGET:
        columns["paper"] = [line.paper for line in lines]
    table = Table(title=run.title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=name not in run.floors, style="bold" if name == ours else None)
    for line, cells in zip(lines, zip(*columns.values(), strict=True), strict=True):
        table.add_row(line.metric, *cells)
    return table
