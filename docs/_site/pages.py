"""Pages that are made when the site is built: every command, key and row, the API, and what stands in results/.

mkdocs calls `on_files` and `on_page_markdown`. Nothing here is written to disk, so that nothing can become outdated.
"""

import ast
import functools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from assimilate import cli
from assimilate.run.explained import JOB, Key, groups, keys, options, shown
from assimilate.run.known_keys import CONF, EXPERIMENTS, MISSING, settings_in

ROOT = Path(__file__).parents[2]
# What a page is made from, to which the other pages link: so they can be read in the repository as well.
SOURCES = {
    "conf/config.yaml": "keys.md",
    "src/assimilate/__init__.pyi": "api-reference.md",
    "results/README.md": "results.md",
}
# Groups of options that set other groups' keys: what a recipe or a data set brings.
BRINGING = ("recipe", "dataset", "dataset_view", "recipe_view", "recipe_dataset", "assim")


def on_files(files: Any, config: Any) -> Any:
    """Add the made pages, and the pictures of results/."""
    from mkdocs.structure.files import File

    made = {
        "commands.md": commands_page(),
        "keys.md": keys_page(),
        "rows.md": rows_page(),
        "api-reference.md": api_page(),
        "results.md": results_page(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted((ROOT / "results").rglob("*.png")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Give a block the name of its file as a title: "```python my/views.py" is our way to write that.

    Links to what a page is made from lead to the page.
    """
    markdown = re.sub(r"^```(\w+) ([\w./-]+)$", r'```\1 title="\2"', markdown, flags=re.MULTILINE)
    for source, made in SOURCES.items():
        markdown = markdown.replace(f"](../{source})", f"]({made})")
    return markdown


# ------------------------------------------------------------------------------------------------------ the reference


def commands_page() -> str:
    """The stages, each with its examples."""
    lines = [
        "# Commands",
        "",
        "All stages share one configuration, so the same overrides name the same run in each of them:",
        "`assimilate train …`, or `python -m assimilate.train …`. A stage builds what it needs and reuses what exists.",
        "",
        "`assimilate <stage> --help` lists groups and keys, `assimilate --help <group>` explains them,",
        "as [Keys](keys.md)",
        "does, and `--cfg job` prints the composed configuration.",
        "",
        'In bash, `eval "$(assimilate --completion bash)"` completes stages, options, keys and rows; also `zsh`.',
    ]
    for stage, does in cli.stages().items():
        text = ast.get_docstring(ast.parse((ROOT / f"src/assimilate/{stage}.py").read_text(encoding="utf-8"))) or ""
        examples = [line for line in text.splitlines() if line.startswith("python -m")]
        lines += ["", f"## {stage}", "", f"{does[0].upper()}{does[1:]}.", "", "```", *map(_as_shell, examples), "```"]
    return "\n".join(lines) + "\n"


def _as_shell(example: str) -> str:
    command, *remark = re.split(r"\s{2,}", example.replace("python -m assimilate.", "assimilate "), maxsplit=1)
    return f"{command}  # {remark[0]}" if remark else command


def keys_page() -> str:
    """Every key, with what it means, may hold and is set to, and the tables of the paper that set it."""
    lines = [
        "# Keys",
        "",
        "Every setting, as it is given on a command line: `key=value`, or `group=option` for all of an",
        "option. The command",
        "line wins over a row, a row over a recipe, a recipe over an option. This page is made from the",
        "classes that read",
        "the keys; `assimilate --help <group>` prints the same, with the values that a command gives them.",
    ]
    topics = sorted({key.topic for key in keys().values()} | set(groups()), key=lambda topic: (topic != JOB, topic))
    for topic in topics:
        title = "Keys in no group" if topic == JOB else topic
        lines += ["", f"## {title} {{: #{topic} }}", "", _sentence(groups().get(topic, ""))]
        if topic in groups():
            lines += ["", "| option | is | paper |", "|---|---|---|"]
            lines += [
                f"| `{topic}={name}` | {_cell(told)} | {_tables(chosen_by(f'{topic}={name}'))} |"
                for name, told in options(topic).items()
            ]
        some = [key for key in keys().values() if key.topic == topic]
        lines += [line for key in some for line in _entry(key)]
    return "\n".join(lines) + "\n"


def _entry(key: Key) -> list[str]:
    """A key as an entry of a definition list."""
    lines = ["", f"`{key.name}`{{: #{key.name} }}"]
    for sense in key.senses:
        means = f"{_by(sense.options)}{_text(_capital(sense.meaning, key))}. Allowed: {_text(sense.allowed)}."
        lines.append(f":   {means}")
    values, tables = _values(key), _tables(chosen_by(key.name))
    lines.append(f":   Value: {values}." if values else ":   It has no value until it is given.")
    return [*lines, f":   Set by rows of: {tables}."] if tables else lines


def _capital(meaning: str, key: Key) -> str:
    """With a capital, unless it begins with what the key may hold ("auto: …")."""
    first = meaning.partition(" ")[0]
    return f"{meaning[:1].upper()}{meaning[1:]}" if first.isalpha() and first not in key.values.values() else meaning


def _by(named: tuple[str, ...]) -> str:
    return f"*{', '.join(named)}*: " if named else ""


def _values(key: Key) -> str:
    """What a key is set to: by options of its own group, then by what brings it."""
    by_value: dict[str, list[str]] = {}
    for option, value in key.values.items():
        by_value.setdefault("to be given" if value == MISSING else f"`{shown(value)}`", []).append(option)
    brought: dict[str, list[str]] = {}
    for name, value in brought_values(key.name):
        brought.setdefault(f"`{shown(value)}`", []).append(name)
    if not by_value and not brought and (default := key.senses[0].default) is not None:
        by_value = {f"`{default if isinstance(default, str) else shown(default)}`": [""]}
    if brought:
        by_value.pop("to be given", None)
    alone = len(by_value) == 1
    parts = [value if alone else f"{value} ({', '.join(some)})" for value, some in by_value.items()]
    parts += [f"{value} in {', '.join(some)}" for value, some in brought.items()]
    return "; ".join(parts)


@functools.cache
def _brought() -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = {}
    for group in BRINGING:
        for path in sorted((CONF / group).glob("*.yaml")):
            for key, value in settings_in(path).items():
                if key.partition(".")[0] != group:
                    found.setdefault(key, []).append((f"{group}={path.stem}", value))
    return found


def brought_values(key: str) -> list[tuple[str, Any]]:
    """(option of another group, value) of what sets a key beside its own group."""
    return _brought().get(key, [])


@functools.cache
def _used() -> dict[str, list[str]]:
    """The tables whose rows set a key, or choose an option."""
    found: dict[str, list[str]] = {}
    for path in sorted(EXPERIMENTS.glob("*/*.yaml")):
        chosen = [f"{group}={option}" for group, option in _chosen(path)]
        for name in {*settings_in(path), *chosen}:
            found.setdefault(name, []).append(path.parent.name)
    return found


def _chosen(path: Path) -> Iterator[tuple[str, str]]:
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", []):
        for group, option in entry.items() if isinstance(entry, dict) else ():
            yield str(group).removeprefix("override ").strip("/"), str(option)


def chosen_by(name: str) -> list[str]:
    """The tables of the paper whose rows set a key, or choose an option."""
    return sorted(set(_used().get(name, ())), key=_number)


def _number(table: str) -> tuple[int, str]:
    found = re.fullmatch(r"table(\d+)(\w*)", table)
    assert found is not None, table
    return int(found.group(1)), found.group(2)


def _tables(names: list[str]) -> str:
    return ", ".join(f"[Table {name.removeprefix('table')}](rows.md#{name})" for name in names)


def rows_page() -> str:
    """The rows of every table, with what their files say."""
    lines = [
        "# Rows of the paper's tables",
        "",
        "A row is `+table=row`, a table `-m '+table=glob(*)'`. `dataset=` and `seed=` go with it. Numbers are the",
        "paper's, by data set in the order of its table; what was measured here is in [Results](results.md).",
    ]
    for table in sorted((path.name for path in EXPERIMENTS.iterdir() if path.is_dir()), key=_number):
        lines += ["", f"## {table}", "", "| row | is |", "|---|---|"]
        lines += [f"| `+{table}={name}` | {_cell(told)} |" for name, told in options(table, (EXPERIMENTS,)).items()]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    parts = text.rstrip(".").split("`")  # every other one is code
    return "`".join(
        part if at % 2 else re.sub(r"([*_])", r"\\\1", part).replace("<", "&lt;") for at, part in enumerate(parts)
    )


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


# ------------------------------------------------------------------------------------------------------ API, results


def api_page() -> str:
    """Everything that `import assimilate` offers, by the room that it comes from."""
    stub = ast.parse((ROOT / "src/assimilate/__init__.pyi").read_text(encoding="utf-8"))
    offered = [
        (str(node.module), alias.name) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    lines = [
        "# API",
        "",
        "What `import assimilate` offers, by where it comes from. [In a notebook](api.md) shows it at work.",
    ]
    room = ""
    for module, name in sorted(offered):
        if (other := module.split(".")[1]) != room:
            room = other
            lines += ["", f"## {room}"]
        lines += ["", f"::: {module}.{name}"]
    return "\n".join(lines) + "\n"


def results_page() -> str:
    """The READMEs of results/, one after the other."""
    parts = []
    for path in [ROOT / "results/README.md", *sorted((ROOT / "results").glob("*/README.md"))]:
        text = path.read_text(encoding="utf-8")
        if parts:
            text = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
            text = re.sub(r"^(## .*)$", rf"\1 {{: #{path.parent.name} }}", text, count=1, flags=re.MULTILINE)
        parts.append(_relinked(text, path.parent))
    return "\n".join(parts)


def _relinked(text: str, folder: Path) -> str:
    return re.sub(r"\]\(([^)#:]+)\)", lambda link: f"]({_target(link[1], folder)})", text)


def _target(link: str, folder: Path) -> str:
    """Where a link of a file in results/ leads to on the page that joins them."""
    path = posixpath.normpath((folder / link).relative_to(ROOT).as_posix())
    if path.endswith("README.md") and path.startswith("results/"):
        return f"#{Path(path).parent.name}"
    return path if path.endswith(".png") else "gpu.md#measure-a-gpu"
