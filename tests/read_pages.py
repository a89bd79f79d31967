"""What the pages of a report say, read back from their HTML and Markdown."""

import re
from html import unescape
from html.parser import HTMLParser


class Tables(HTMLParser):
    """The number tables of a page: rows of the cells' visible text, and every link."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.links, self.ids = [], [], set()
        self._cell = None
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.links += [found[name] for name in ("href", "src") if name in found]
        if tag == "table":
            self._inside = "numbers" in found.get("class", "").split() and "runs" not in found["class"].split()
            if self._inside:
                self.tables.append([])
        elif self._inside and tag == "tr":
            self.tables[-1].append([])
        elif self._inside and tag in ("td", "th") and found.get("class") != "together":
            self._cell = ""
        elif tag in ("br", "small") and self._cell is not None:
            self._cell += " "

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(" ".join(self._cell.split()))
            self._cell = None
        elif tag == "table":
            self._inside = False

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data


def markdown_tables(text):
    tables, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            lines.append([re.sub(r"\\(.)", r"\1", re.sub("</?sup>|`", "", cell)).strip() for cell in cells])
        elif lines:
            tables.append([lines[0], *lines[2:]])
            lines = []
    return tables


def commands_of(html):
    return [
        line
        for block in re.findall(r'<pre class="command">(.*?)</pre>', html, re.DOTALL)
        for line in unescape(block).splitlines()
    ]
