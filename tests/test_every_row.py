"""Every cell of every table composes to what the paper says, against tests/paper_tables.py, typed from the paper."""

import ast
import copy
import functools
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from assimilate.errors import UserError
from assimilate.graph.identity import content_hash
from assimilate.run import composing
from assimilate.run.budget import apply_budget
from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import _plain, make_job
from assimilate.run.known_keys import EXPERIMENTS
from assimilate.run.recipe import Recipe
from tests.paper_meaning import DATASETS, MEANING, SAME_RUNS, expected
from tests.paper_tables import FAKE, PAPER, cells, numbers

# One process composes each cell once.
pytestmark = pytest.mark.xdist_group("every_cell")

CELLS = cells()
# The task's own count of the training cells, and of the measured ones.
TRAINED = {
    "table3": 27, "table4": 3, "table5a": 6, "table5b": 5, "table6": 5, "table7": 9, "table8": 2, "table11": 8,
    "table12": 6, "table13": 6, "table14": 5, "table15": 4, "table16": 6, "table17": 4, "table18": 5, "table19": 10,
}  # fmt: skip
MEASURED = {"table1": 10}


@pytest.fixture(scope="module", autouse=True)
def _one_hydra() -> Iterator[None]:
    """One config loader for all compositions."""
    with hydra_ready():
        yield


def plain_config(*overrides: str) -> dict[str, Any]:
    return _plain(compose(overrides))


@functools.cache
def composed(table: str, row: str, dataset: str) -> dict[str, Any]:
    return plain_config(f"+{table}={row}", f"dataset={dataset}")


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys at which `found` is not what is wanted; a key that is not there counts as null."""
    result = []
    for key, value in wanted.items():
        there = found.get(key)
        if isinstance(value, Mapping):
            result += differences(value, there if isinstance(there, Mapping) else {}, f"{prefix}{key}.")
        elif there != value:
            result.append(f"{prefix}{key} is {there!r}, the paper's is {value!r}")
    return result


def wrong_with(config: Mapping[str, Any], table: str, row: str, dataset: str) -> list[str]:
    """What a composed cell has otherwise than the paper: its settings, its name, its numbers."""
    wrong = differences(expected(table, row, dataset), config)
    if config["row"] != f"{table}/{row}":
        wrong.append(f"row is {config['row']}")
    if config["paper"] != numbers(table, row):
        wrong.append(f"paper is {config['paper']}, printed is {numbers(table, row)}")
    return wrong


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {key: leaf for name, child in value.items() for key, leaf in leaves(child, f"{prefix}.{name}").items()}


# ------------------------------------------------------------------------------------------------ counts


def test_the_files_are_the_papers_rows():
    shipped = {
        folder.name: {path.stem for path in folder.glob("*.yaml")}
        for folder in EXPERIMENTS.iterdir()
        if folder.is_dir()
    }
    assert shipped == {table: set(rows) for table, (_, _, rows) in PAPER.items()}
    assert {table: set(rows) for table, rows in MEANING.items()} == shipped


def test_there_are_111_trainings_and_10_measurements():
    assert Counter(table for table, _, _ in CELLS) == Counter(TRAINED | MEASURED)
    assert (sum(TRAINED.values()), len(CELLS)) == (111, 121)


def printed_numbers(cell_numbers: list[Any]) -> tuple[int, int]:
    return len(cell_numbers), sum(isinstance(number, Mapping) for number in cell_numbers)


def test_there_are_188_means_and_26_standard_deviations():
    typed = [n for table, row, dataset in CELLS for n in numbers(table, row)[dataset].values()]
    files = [yaml.safe_load(path.read_text())["paper"] for path in EXPERIMENTS.glob("*/*.yaml")]
    shipped = [number for paper in files for metrics in paper.values() for number in metrics.values()]
    assert printed_numbers(typed) == printed_numbers(shipped) == (188, 26)


# ------------------------------------------------------------------------------------------------ cells


@pytest.mark.parametrize(("table", "row", "dataset"), CELLS, ids=["/".join(cell) for cell in CELLS])
def test_a_cell_is_the_papers(table, row, dataset):
    assert not wrong_with(composed(table, row, dataset), table, row, dataset)


ROWS = [(table, row, datasets[0]) for table, (datasets, _, rows) in PAPER.items() for row in rows]


def groups_of(table: str, row: str) -> list[str]:
    """The options that a user would choose for this row, before any of its numbers."""
    meaning = MEANING[table][row]
    words = [f"assim={meaning['assim']['name']}"]
    view, loss = meaning.get("view", {}).get("name"), meaning.get("loss", {}).get("name")
    words += [f"view={view}"] if view else []
    words += [f"loss={loss}"] if loss else []
    recipe = "htdt" if table == "table8" else "simsiam" if loss == "simsiam" else None
    words += [f"recipe={recipe}"] if recipe else []
    if table == "table12" and "training" in meaning.get("view", {}).get("encoder", {}):
        words.append(f"view_encoder={'essl' if meaning['simclr_loss'] == 'infonce' else 'simsiam'}")
    return words


@functools.cache
def composed_of_groups(dataset: str, *options: str) -> dict[str, Any]:
    return plain_config(f"dataset={dataset}", *options)


@pytest.mark.parametrize(("table", "row", "dataset"), ROWS, ids=["/".join(cell[:2]) for cell in ROWS])
def test_a_row_changes_nothing_else(table, row, dataset):
    """Beside the options of its groups, a row differs from the defaults in what the paper says of it alone."""
    default = leaves(composed_of_groups(dataset, *groups_of(table, row)))
    changed = {
        key
        for key, value in leaves(composed(table, row, dataset)).items()
        if value != default.get(key) and not key.startswith((".paper", ".row"))
    }
    named = set(leaves(MEANING[table][row]))
    assert changed <= named, changed - named


def test_equal_runs_are_one_run_and_no_others_are():
    """Rows that the paper prints twice have one identity, so the second finds encoder and probe of the first."""
    runs = defaultdict(set)
    for cell in CELLS:
        if cell[0] not in MEASURED:
            runs[content_hash(Recipe(composed(*cell)).identity)].add(cell)
    assert sorted(map(sorted, SAME_RUNS)) == sorted(sorted(cells) for cells in runs.values() if len(cells) > 1)


def test_f_of_simsiam_runs_is_the_simclr_row(tmp_path):
    """Table 12's W-search-SimCLR: its f and its views are those of Table 3, found by content."""
    from assimilate.artifacts.chain import build_chain
    from assimilate.data.dataset import Images

    def chain(table, row):
        words = [f"+{table}={row}", "dataset=cifar10"]
        facts = Images(fingerprint="stand-in", num_train=50_000)
        return build_chain(make_job("train", compose(words), words).config, tmp_path, facts)

    simclr, plain = chain("table3", "expert_expert_simclr"), chain("table3", "expert_expert_wsearch_a2")
    mixed, own = chain("table12", "wsearch_simclr_a2_simsiam"), chain("table12", "wsearch_simsiam_a2_simsiam")
    prefix = chain("table7", "cache4_view4")
    assert mixed.reference.label == plain.reference.label == simclr.encoder.label
    assert mixed.views.label == plain.views.label == prefix.views.label
    assert own.reference.label == chain("table12", "simsiam_baseline").encoder.label
    assert own.views.label == chain("table12", "wsearch_simsiam_a2_infonce").views.label
    assert len({chain.encoder.label for chain in (plain, mixed, own, prefix)}) == 4


# ------------------------------------------------------------------------------------------------ the check itself

MUTATIONS = [
    ("table13/epsilon1_05", "epsilon1: 0.5", "epsilon1: 0.4"),
    ("table5a/wsearch_crop70_wsearch_crop70", "crop70}", "crop50}"),
    ("table18/sgd", "optimizer: sgd", "optimizer: adam"),
    ("table19/basic_basic_wsearch_aug_a2", "augment: leak", "augment: none"),
    ("table6/three_view_simclr_on_the_fly", "/loss: full", "/loss: ntxent"),
    ("table3/expert_wsearch_a1", "/view: wsearch", "/view: wperturb"),
    ("table3/expert_wsearch_a1", "/assim: a1", "/assim: a2"),
    ("table16/sigma_04", "mean: 91.852", "mean: 91.825"),
    ("table16/sigma_04", "std: 0.03", "std: 0.3"),
    ("table11/a2_full", "cifar100: {", "cifar1000: {"),
    ("table8/simclr", "row: table8/simclr", "row: table8/wsearch_a2"),
]


@pytest.mark.parametrize(("row", "text", "other"), MUTATIONS, ids=[f"{row} {other}" for row, _, other in MUTATIONS])
def test_a_mutated_row_is_found(row, text, other, tmp_path, monkeypatch):
    mutated = tmp_path / "experiments"
    shutil.copytree(EXPERIMENTS, mutated)
    path = mutated / f"{row}.yaml"
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, other))
    table, name = row.split("/")
    dataset = PAPER[table][0][0]
    words = [f"+{table}={name}", f"dataset={dataset}"]
    with composing_from(mutated, monkeypatch):
        assert wrong_with(plain_config(*words), table, name, dataset)
        assert not wrong_with(plain_config("+table15=lambda_0", "dataset=cifar10"), "table15", "lambda_0", "cifar10")


def composing_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A config loader that finds the rows in `folder`; the module's own comes back afterwards."""
    from contextlib import contextmanager

    from hydra.core.global_hydra import GlobalHydra

    @contextmanager
    def swapped() -> Iterator[None]:
        kept = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        monkeypatch.setattr(composing, "EXPERIMENTS", folder)
        try:
            with hydra_ready():
                yield
        finally:
            monkeypatch.undo()
            GlobalHydra.instance().hydra = kept

    return swapped()


def test_a_stray_setting_is_found(monkeypatch, tmp_path):
    mutated = tmp_path / "experiments"
    shutil.copytree(EXPERIMENTS, mutated)
    path = mutated / "table18/sgd.yaml"
    path.write_text(path.read_text() + "data: {expert: {grayscale_probability: 0.3}}\n")
    with composing_from(mutated, monkeypatch):
        found = leaves(plain_config("+table18=sgd", "dataset=cifar10"))
    changed = {key for key, value in leaves(composed("table18", "sgd", "cifar10")).items() if found[key] != value}
    assert changed == {".data.expert.grayscale_probability"}


# ------------------------------------------------------------------------------------------------ as jobs


@pytest.mark.parametrize("table", PAPER)
def test_rows_are_jobs_with_folders_of_their_own(table, tmp_path):
    datasets, _, rows = PAPER[table]
    budget = ("smoke", "short", "paper")[len(table) % 3]
    stage = "analyze" if table in MEASURED else "train"
    row = sorted(rows)[0]
    words = [f"+{table}={row}", f"dataset={datasets[-1]}", f"budget={budget}", "seed=3"]
    (tmp_path / "bigbigan.pth").write_bytes(b"not read by a plan")
    words += [f"generator.checkpoint={tmp_path}/bigbigan.pth"] if datasets == (FAKE,) else []
    job = make_job(stage, compose(words), words)
    assert job.row == f"{table}/{row}"
    assert job.run_dir == job.out / budget / table / row / datasets[-1] / "seed3"


def test_measurements_are_no_trainings():
    words = ["+table1=original_wsearch", "dataset=cifar10"]
    with pytest.raises(UserError, match=r"table1/original_wsearch is a measurement.*assimilate\.analyze"):
        make_job("train", compose(words), words)
    changed = [*words, "analysis.pair=[original,expert]"]
    assert make_job("analyze", compose(changed), changed).row is None


def test_a_row_on_a_data_set_that_the_paper_has_not():
    words = ["+table13=epsilon1_05", "dataset=cifar100"]
    job = make_job("train", compose(words), words)
    assert job.row == "table13/epsilon1_05"
    assert job.config["view"]["epsilon1"] == 0.5
    assert job.config["encoder"]["backbone"] == DATASETS["cifar100"]["encoder"]["backbone"]
    assert "cifar100" not in job.config["paper"]


@pytest.mark.parametrize("table", ["table1", "table5a", "table19"])
def test_unknown_rows_and_two_at_once_are_refused(table, capsys, tmp_path):
    from assimilate.jobs.command import stage

    @stage("train")
    def main(job):
        raise AssertionError(job)

    row = sorted(PAPER[table][2])[0]
    other = "table3=expert_wsearch_a1" if table != "table3" else "table4=expert_wperturb_a1"
    for words, message in (
        ([f"+{table}={row}x"], rf"{table} has no row '{row}x'. Did you mean \+{table}=\w+\? Rows: "),
        ([f"+{table}={row}", f"+{other}"], "one row at a time"),
    ):
        assert main([*words, f"out={tmp_path / 'out'}"]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1


@pytest.mark.parametrize("budget", ["smoke", "short"])
def test_a_budget_leaves_every_row_possible(budget):
    """The views that a step draws can still be drawn, and all that takes long is capped."""
    caps = plain_config(f"budget={budget}")["budget"]
    for cell in CELLS:
        config = copy.deepcopy(composed(*cell)) | {"budget": caps}
        apply_budget(config)
        Recipe(config).check(measured=True)
        view = config["view"]
        own = view.get("encoder", {}).get("training") or {}
        assert config["generator"].get("num_steps", 0) <= 50_000
        assert config["dataset"].get("num_images", 0) <= 130_000 or config["dataset"]["max_train_images"] <= 128
        assert view.get("search", {"iterations": 0})["iterations"] <= 200
        if budget == "smoke":
            assert config["epochs"] <= 2
            assert config["batch_size"] <= 64
            assert max(config["encoder"]["width"], own.get("encoder", {}).get("width", 0)) <= 8
            assert max(config["encoder"]["hidden_dim"], own.get("encoder", {}).get("hidden_dim", 0)) <= 64
            assert config["probe"]["num_epochs"] <= 5
            assert config["dataset"]["max_train_images"] <= 128
            assert view.get("n_cached", 1) <= 3
            assert view["n_sampled"] <= 2
            assert view.get("search", {"iterations": 0})["iterations"] <= 12


@pytest.mark.parametrize("name", ["paper_tables", "paper_meaning"])
def test_expectations_come_from_nowhere_else(name):
    """What the rows are checked against imports and opens nothing."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    typed = {"from typing import Any", "from tests.paper_tables import C10, C100, FAKE, TINY"}
    assert {ast.unparse(node) for node in imported} <= typed
    assert not {"open", "exec", "eval"} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
