"""What the whole of the source keeps to; circles of imports and floors are lint-imports' business (pyproject.toml)."""

import ast
from pathlib import Path

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
