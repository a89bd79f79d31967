"""What the whole of the source keeps to; circles of imports and floors are lint-imports' business (pyproject.toml)."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
# They exist so that plans, refusals and help load no torch.
MOST_FUNCTION_LEVEL_IMPORTS = 50
MOST_LINES = 400
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _imports_of_functions(tree: ast.Module) -> set[int]:
    functions = (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))
    return {
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def test_few_imports_wait_inside_functions():
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / "src").rglob("*.py")
        for line in _imports_of_functions(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert 0 < len(found) <= MOST_FUNCTION_LEVEL_IMPORTS, (len(found), sorted(found))


def test_no_file_is_long():
    files = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


# ------------------------------------------------------------------------------------------- names of components

# Words of a setting, or of another program, that happen to be called as an option of a group is: {(file, word): why}.
WORDS_OF_SETTINGS = {
    ("analysis/card_figure.py", "expert"): "a reference that stands beside a score on a card",
    ("analysis/card_figure.py", "reconstruction"): "a reference that stands beside a score on a card",
    ("analysis/pairs.py", "expert"): "a kind of view in a pair of Table 1 (analysis.pair)",
    ("analysis/pairs.py", "original"): "a kind of view in a pair of Table 1 (analysis.pair)",
    ("encoder/importing.py", "imagenet"): "encoder.stem",
    ("encoder/resnet.py", "imagenet"): "encoder.stem",
    ("figures/record.py", "viewmaker"): "analysis.viewmaker, a setting",
    ("figures/pairs.py", "original"): "a kind of view in a pair of Table 1 (analysis.pair)",
    ("tracking/wandb_tracker.py", "online"): "WANDB_MODE and logger.mode",
    ("views/equation3.py", "original"): "view.anchor",
    ("views/wsearch.py", "reconstruction"): "view.anchor",
}


def names_of_components() -> set[str]:
    """The options of the groups of conf/ that name a class."""
    return {path.stem for path in (ROOT / "conf").glob("*/*.yaml") if "_target_:" in path.read_text(encoding="utf-8")}


def strings_in(node: ast.AST | None, constants: dict[str, list[str]]) -> list[str]:
    """The strings that an expression is, or is a sequence of, by way of a constant of some module, too."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [found for element in node.elts for found in strings_in(element, constants)]
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return constants.get(name, [])


def constants_of(trees: list[ast.Module]) -> dict[str, list[str]]:
    """The strings of every constant that a module has."""
    found: dict[str, list[str]] = {}
    for statement in (statement for tree in trees for statement in tree.body if isinstance(statement, ast.Assign)):
        for target in statement.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            several = isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple)
            values = statement.value.elts if several else [statement.value] * len(names)
            for name, value in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and name.id.isupper():
                    found.setdefault(name.id, []).extend(strings_in(value, found))
    return found


def told_by_name(tree: ast.Module, names: set[str], constants: dict[str, list[str]]) -> set[tuple[int, str]]:
    """Where a module compares with the name of a component, or has a table of them; (line, name).

    A table is a dictionary that a module or class keeps, or one of two names or more: {"wsearch": …} in a function is
    how the arguments of one component are called.
    """
    kept = {
        id(statement.value)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.Module | ast.ClassDef)
        for statement in scope.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
    }
    found = set()
    for node in ast.walk(tree):
        words: Iterable[str] = ()
        if isinstance(node, ast.Compare):
            words = [word for side in (node.left, *node.comparators) for word in strings_in(side, constants)]
        elif isinstance(node, ast.MatchValue):
            words = strings_in(node.value, constants)
        elif isinstance(node, ast.Dict):
            keys = {word for key in node.keys for word in strings_in(key, constants) if word in names}
            words = keys if id(node) in kept or len(keys) > 1 else ()
        found |= {(node.lineno if hasattr(node, "lineno") else 0, word) for word in words if word in names}
    return found


def test_a_component_is_never_told_by_its_name():
    package = ROOT / "src" / "assimilate"
    trees = {
        str(path.relative_to(package)): ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")
    }
    names, constants = names_of_components(), constants_of(list(trees.values()))
    assert {"wsearch", "cifar10", "simsiam", "stylegan2", "sgd"} <= names
    found = {
        (file, word): f"{file}:{line} {word!r}"
        for file, tree in trees.items()
        for line, word in told_by_name(tree, names, constants)
    }
    assert {where for key, where in found.items() if key not in WORDS_OF_SETTINGS} == set()
    assert set(WORDS_OF_SETTINGS) - set(found) == set(), "no longer there: take it from the list"


@pytest.mark.parametrize(
    "code",
    [
        'x == "wsearch"',
        'x.name not in ("none", "wsearch")',
        "x != USUAL",
        'TABLE = {"wsearch": 1}',
        'def f():\n    return {"wsearch": 1, "wmix": 2}[x]',
        'class C:\n    of: dict[str, int] = {"wsearch": 1}',
        'match x:\n    case "wsearch":\n        pass',
    ],
)
def test_what_tells_a_component_by_its_name_is_found(code):
    assert told_by_name(ast.parse(code), {"wsearch", "wmix"}, {"USUAL": ["wsearch"]})


def test_arguments_of_a_component_are_no_table():
    assert not told_by_name(ast.parse('def f():\n    return {"wsearch": 1, "seed": 2}'), {"wsearch", "wmix"}, {})


# --------------------------------------------------------------------------------------------- values of settings

# Where a word of a setting means one thing, one place says so. Of these, more do: {setting: why}.
ASKED_IN_SEVERAL_PLACES = {
    "prepare": "a mode of the job (auto, plan, only, never), which each stage and the store heed",
    "shown": "how a figure comes by a view, a fact that the view's class states",
    "stop": "view.search.stop, of the settings, which load no torch, and of the engine's own",
}


def settings_with_words(trees: Iterable[ast.Module]) -> set[str]:
    """The names of the fields and arguments that may hold one of several words, by way of an alias, too."""
    statements = [node for tree in trees for node in ast.walk(tree)]
    aliases = {
        target.id
        for node in statements
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal[")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    words = re.compile(rf"\b(Literal|{'|'.join(sorted(aliases))})\b")
    fields = (node for node in statements if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
    return {node.target.id for node in fields if words.search(ast.unparse(node.annotation))}


def name_of(node: ast.AST) -> str:
    """What an expression is called: x, of.x or of["x"]."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.removeprefix("_")


def asked_for(tree: ast.Module, settings: set[str], constants: dict[str, list[str]]) -> set[tuple[int, str, str]]:
    """Where a setting's value is compared with a word; (line, setting, word)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {word for side in sides for word in strings_in(side, constants)}
            found |= {(node.lineno, name, word) for name in map(name_of, sides) if name in settings for word in words}
    return found


def test_a_word_of_a_setting_is_asked_for_in_one_place():
    package = ROOT / "src" / "assimilate"
    trees = {
        str(path.relative_to(package)): ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")
    }
    settings, constants = settings_with_words(trees.values()), constants_of(list(trees.values()))
    assert {"projection", "precision", "batchnorm", "prepare", "shown", "stem"} <= settings
    places: dict[tuple[str, str], set[str]] = {}
    for file, tree in trees.items():
        for line, setting, word in asked_for(tree, settings, constants):
            places.setdefault((setting, word), set()).add(f"{file}:{line}")
    several = {key: sorted(where) for key, where in places.items() if len(where) > 1}
    assert {key: where for key, where in several.items() if key[0] not in ASKED_IN_SEVERAL_PLACES} == {}
    assert set(ASKED_IN_SEVERAL_PLACES) - {setting for setting, _ in several} == set(), "take it from the list"


def test_the_value_of_a_setting_is_found():
    tree = ast.parse("""
Order = Literal["one", "other"]
class C:
    order: Order
    kind: ClassVar[Literal["a", "b"] | None]
    name: str
self._order == "one"
config["kind"] in ("a", KINDS)
name == "one"
""")
    assert settings_with_words([tree]) == {"order", "kind"}
    assert asked_for(tree, {"order", "kind"}, {"KINDS": ["b"]}) == {
        (7, "order", "one"), (8, "kind", "a"), (8, "kind", "b"),
    }  # fmt: skip


def test_a_module_that_is_imported_by_its_name_closes_no_circle():
    """lint-imports sees statements; `import_module` with a literal is an import as well."""
    graph, found = grimp.build_graph("assimilate"), 0
    for path in (ROOT / "src" / "assimilate").rglob("*.py"):
        importer = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).split(".")[-1] in ("import_module", "resolve_name")
            ):
                continue
            for word in (each.value for each in node.args if isinstance(each, ast.Constant)):
                if word in graph.modules:
                    found += 1
                    assert graph.find_shortest_chain(importer=word, imported=importer) is None, (importer, word)
    assert found
