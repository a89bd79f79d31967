"""A self-contained HTML page: no network, light and dark, readable on a laptop and on a phone."""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

# "92.41 ± 0.12", "+0.10", "–"
NUMBER = re.compile(r"[-+−–±\d., ]+")
STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")


def page(title: str, parts: Sequence[str], *, navigation: Sequence[str] = ()) -> str:
    """The whole document.

    Args:
        title: of the window.
        parts: HTML, one below the other.
        navigation: HTML of the links in the bar that stays in sight; none: no bar.
    """
    body = "\n".join(parts)
    bar = f'<nav class="bar" aria-label="sections"><div>{"".join(navigation)}</div></nav>' if navigation else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{bar}<main>\n{body}\n</main></body></html>\n"
    )


def link(href: str, text: str, *, css: str = "") -> str:
    """A link to a place on this page or to a file beside it."""
    name = f' class="{css}"' if css else ""
    return f'<a{name} href="{escape(href, quote=True)}">{escape(text)}</a>'


def file_href(path: str) -> str:
    """A relative path as a link needs it: `%`, `#`, `?`, spaces and what else a folder's name may hold, escaped."""
    return quote(path)


def anchor(text: str) -> str:
    """A name that an id may have."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def heading(text: str, *, level: int = 2, name: str = "") -> str:
    """A section's title, with an id to link to if it has a name."""
    identity = f' id="{escape(name, quote=True)}"' if name else ""
    return f"<h{level}{identity}>{escape(text)}</h{level}>"


def paragraph(text: str, *, soft: bool = False) -> str:
    """Plain text."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def badges(words: Sequence[str], *, warnings: Sequence[str] = ()) -> str:
    """Short labels; warnings stand out."""
    plain = "".join(f'<span class="badge">{escape(word)}</span>' for word in words)
    return "<p>" + "".join(f'<span class="badge warn">{escape(word)}</span>' for word in warnings) + plain + "</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, strong_column: int | None = None) -> str:
    """A table that scrolls by itself on a narrow screen; a header of empty cells is left out."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    head = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    lines = []
    for row in rows:
        cells = []
        for column, cell in enumerate(row):
            css = ["run"] if column == strong_column else []
            css += ["unbroken"] if NUMBER.fullmatch(cell) else []
            name = f' class="{" ".join(css)}"' if css else ""
            cells.append(f"<td{name}>{escape(cell)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def picture_figure(content: bytes, caption: str, *, css: str = "pixels", kind: str = "png", after: str = "") -> str:
    """A picture, embedded as an image: a script that an SVG may hold never runs.

    Args:
        content: the file's bytes.
        caption: plain text, also its alternative text.
        css: "pixels" for enlarged pixels, "plate" for a plot on white, "vector" for one on the page's own colour.
        kind: "png" or "svg+xml".
        after: HTML behind the caption.
    """
    data = base64.b64encode(content).decode()
    text = escape(caption, quote=True)
    return (
        f'<figure class="{css}"><img src="data:image/{kind};base64,{data}" alt="{text}">'
        f"<figcaption>{text} {after}</figcaption></figure>"
    )


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


def command(text: str) -> str:
    """A command that one click selects as a whole."""
    return f'<pre class="command">{escape(text)}</pre>'


def facts(values: Mapping[str, str]) -> str:
    """Names and what they are."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items() if value)
    return f"<dl>{lines}</dl>"


def disclosure(summary: str, inside: str, *, css: str = "") -> str:
    """HTML behind a click; `summary` is HTML too."""
    name = f' class="{css}"' if css else ""
    return f"<details{name}><summary>{summary}</summary>{inside}</details>"


def popover(name: str, inside: str) -> str:
    """What `opener(name, …)` opens, without a script."""
    return f'<div popover id="{name}">{inside}</div>'


def opener(name: str, text: str, *, css: str = "") -> str:
    """A button within a line of text; `text` is HTML."""
    return f'<button type="button" class="{css or "cell"}" popovertarget="{name}">{text}</button>'
