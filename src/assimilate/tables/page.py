"""A self-contained HTML page: no network, light and dark, readable on a laptop and on a phone."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_suffix(".css").read_text()


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
