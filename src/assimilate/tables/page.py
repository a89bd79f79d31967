"""A self-contained HTML page: no network, light and dark, readable on a laptop and on a phone."""

import base64
from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #667079; --line: #d9dee3; --page: #ffffff; --panel: #f5f7f9; --accent: #2f7fd6; --mark: #e07a1f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #97a1ab; --line: #333b44; --page: #14181c; --panel: #1c2228; --accent: #6fb0f5; --mark: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { max-width: 48rem; margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.badge { display: inline-block; padding: .05rem .6rem; border: 1px solid var(--line); border-radius: 1rem; font-size: .85rem; margin: 0 .35rem .35rem 0; background: var(--panel); }
.badge.warn { border-color: var(--mark); color: var(--mark); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .45rem 1.1rem .45rem 0; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .88rem; }
td.run { font-weight: 650; color: var(--accent); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.2rem; align-items: start; }
.stack { display: grid; gap: 1.2rem; min-width: 0; }
figure { margin: 0; padding: 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; overflow-x: auto; }
figure svg { width: 100%; height: auto; display: block; }
figure img { image-rendering: pixelated; max-width: 100%; display: block; }
figcaption { margin-top: .6rem; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .92em; overflow-wrap: anywhere; }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole document."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def heading(text: str) -> str:
    """A section's title."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, *, soft: bool = False) -> str:
    """Plain text."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def badges(words: Sequence[str], *, warnings: Sequence[str] = ()) -> str:
    """Short labels; warnings stand out."""
    plain = "".join(f'<span class="badge">{escape(word)}</span>' for word in words)
    return "<p>" + "".join(f'<span class="badge warn">{escape(word)}</span>' for word in warnings) + plain + "</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, strong_column: int | None = None) -> str:
    """A table that scrolls by itself on a narrow screen."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = []
    for row in rows:
        cells = [
            f'<td class="run">{escape(cell)}</td>' if column == strong_column else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def vector_figure(svg: str, caption: str) -> str:
    """An SVG with a caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def picture_figure(png: bytes, caption: str) -> str:
    """A PNG, embedded, with a caption that is also its alternative text."""
    data = base64.b64encode(png).decode()
    text = escape(caption, quote=True)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def side_by_side(figures: Sequence[str]) -> str:
    """Figures that share a line where there is room."""
    return f'<div class="pair">{"".join(figures)}</div>'


def stacked(parts: Sequence[str]) -> str:
    """Parts above each other, as one cell of `side_by_side`."""
    return f'<div class="stack">{"".join(parts)}</div>'


def folded(summary: str, text: str) -> str:
    """Preformatted text behind a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def code_block(text: str) -> str:
    """Preformatted text."""
    return f"<pre>{escape(text)}</pre>"
