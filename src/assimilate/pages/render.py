"""From plain data to text: Jinja2 templates that hold all markup. No network, no script."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from assimilate.pages import curves
from assimilate.pages.run import hours_of, warning_of

# "92.41 ± 0.12", "+0.10", "88.90 ▽", "–"
_NUMBER = re.compile(r"[-+−–±▽*\d., ]+")
_KINDS = {".png": "png", ".svg": "svg+xml"}
# Characters that would end a cell of Markdown, or be read as markup.
_ESCAPED = re.compile(r"[\\`*_\[\]<>|~$]")


def render(template: str, **values: Any) -> str:
    """Fill a template; every value is escaped as the kind of the page needs it.

    Args:
        template: a file of templates/, "….html" or "….md".
        values: what it shows; one that it asks for and that is missing is an error.
    """
    return (_MARKDOWN if template.endswith(".md") else _HTML).get_template(template).render(values)


def anchor(text: str) -> str:
    """A name that an id may have."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def href(path: str) -> str:
    """A relative path as a link needs it: `%`, `#`, `?`, spaces and what else a folder's name may hold, escaped."""
    return quote(path)


def picture_data(path: Path) -> str:
    """A picture as the source of an image, in which a script that an SVG may hold never runs."""
    return f"data:image/{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _escape_markdown(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    return _ESCAPED.sub(r"\\\g<0>", " ".join(str(value).split()))


def _code(text: str) -> Markup:
    """A word of code within a line or a table of Markdown."""
    return Markup("`" + text.replace("`", "'").replace("|", "\\|") + "`")


def _breakable(text: str) -> Markup:
    """Overrides, each on one line if it fits; a longer one is broken after = or before a dot."""
    words = (Markup("<wbr>").join(re.split(r"(?<=[=,/])|(?=\.)", word)) for word in text.split(" "))
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(word) for word in words)


def _environment(**settings: Any) -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **settings,
    )
    filters: Mapping[str, Any] = {
        "anchor": anchor,
        "href": href,
        "breakable": _breakable,
        "code": _code,
    }
    found.filters.update(filters)
    found.tests["number"] = lambda cell: isinstance(cell, str) and _NUMBER.fullmatch(cell) is not None
    found.globals |= {"frame": curves, "hours_of": hours_of, "warning_of": warning_of}
    return found


_HTML = _environment(autoescape=True)
_MARKDOWN = _environment(autoescape=False, finalize=_escape_markdown)
