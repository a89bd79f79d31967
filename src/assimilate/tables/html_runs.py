"""Runs that belong to no row, and every run's own few lines, as HTML."""

from collections.abc import Sequence
from html import escape

from assimilate.tables import page
from assimilate.tables.html_tables import HrefOf, dataset_name, metric_name, warning_of
from assimilate.tables.numbers import NOTHING, decimals_of, hours_text, spread_text
from assimilate.tables.results import Run
from assimilate.tables.settings import Setting, SettingsTable


def column_title(metric: str, of_baseline: bool) -> str:
    """ "Acc@1"; "Acc@1 of f" for the SimCLR run that the views come from."""
    return f"{metric_name(metric)} of f" if of_baseline else metric_name(metric)


def setting_text(setting: Setting, metric: str, of_baseline: bool) -> str:
    """ "92.41 ± 0.12 (3)"; "–" for nothing."""
    value = setting.of_baseline(metric) if of_baseline else setting.measured(metric)
    return NOTHING if value is None else spread_text(value, decimals_of(metric, None))


def render_settings(table: SettingsTable, comparable: bool, href_of: HrefOf) -> str:
    """Settings of one data set and protocol: what was overridden, what it reached, what it cost."""
    lines = []
    for setting in table.settings:
        words = " ".join(setting.words)
        name = f"<code>{escape(words)}</code>" if words else "the defaults"
        cells = [f'<th scope="row" class="setting">{name}</th>']
        for column in table.columns:
            css = "paper" if column[1] else "ours"
            cells.append(f'<td class="{css}">{escape(setting_text(setting, *column))}</td>')
        cells.append(f'<td class="hours">{escape(setting.hours)}</td>')
        seeds = ", ".join(page.link(href_of(run), str(run.place.seed)) for run in setting.runs)
        cells.append(f"<td>{seeds}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    warning = "" if comparable else f'<span class="badge warn">{escape(warning_of(table.budget))}</span> '
    notes = "".join(
        f"<li>{escape(', '.join(map(metric_name, metrics)))}: {escape(label)}</li>" for metrics, label in table.notes
    )
    titles = [column_title(*column) for column in table.columns]
    numbers = "".join(f'<th scope="col" class="number">{escape(text)}</th>' for text in [*titles, "hours"])
    has_f = any(of_baseline for _, of_baseline in table.columns)
    of_f = " f is the SimCLR run that the views come from." if has_f else ""
    columns = f'<th scope="col">setting</th>{numbers}<th scope="col">seeds</th>'
    return (
        f'<figure class="paper-table{"" if comparable else " other-budget"}"><figcaption>{warning}<strong>'
        f"{escape(dataset_name(table.dataset))}.</strong> Runs of no row, each setting over its training seeds.{of_f}"
        f'</figcaption><div class="scroll" tabindex="0" role="region" aria-label="settings"><table class="numbers">'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<ul class="notes">{notes}</ul></figure>'
    )


def render_run(run: Run, title: str, words: str, href: str, plots: Sequence[str], facts: str) -> str:
    """A run in a few lines that open to its command, curves and provenance; its page has the pictures and the rest."""
    measured = run.metrics.get("acc1") or run.metrics.get("knn5")
    name = "Acc@1" if "acc1" in run.metrics else "5-NN"
    number = f"{name} {measured.mean:.2f}" if measured else "not probed"
    hours = hours_text(sum(run.seconds.values()))
    code = f" <code>{escape(words)}</code>" if words else ""
    summary = (
        f'<span class="run-title">{escape(title)}{code}</span><span class="run-facts">{escape(number)}</span>'
        f'<span class="run-facts">{escape(hours)} h</span>'
    )
    inside = (
        f'<div class="run-body">{page.command(run.command)}<div class="plots">{"".join(plots)}</div>{facts}'
        f"<p>{page.link(href, 'Its page: views, reconstructions, artifacts, configuration')}</p></div>"
    )
    return page.disclosure(summary, inside, css="run")
