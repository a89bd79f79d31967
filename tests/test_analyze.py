"""The stage analyze on digits at the smoke budget, through the commands that users type."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from assimilate import analyze, train
from assimilate.errors import UserError
from assimilate.figures.record import Analysis
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.chain_run import artifacts, results, run, stamps

pytestmark = pytest.mark.xdist_group("chain")


def records(out):
    return sorted(out.glob("smoke/analysis/*/analysis.json"))


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def check_record(path, kind):
    record = json.loads(path.read_text())
    assert path.parent.name.startswith(f"{kind}-digits-")
    assert (record["schema"], record["kind"], record["dataset"]) == (2, kind, "digits")
    assert record["figure"] is None  # no figure of the paper shows digits
    assert record["title"]
    assert record["caption"]
    assert record["seconds"] >= 0
    assert "torch" in record["versions"]
    (files,) = record["files"]
    with Image.open(path.parent / files["png"]) as picture:
        assert min(picture.size) > 100
    assert (path.parent / files["pdf"]).read_bytes().startswith(b"%PDF")
    assert b"<svg" in (path.parent / files["svg"]).read_bytes()
    return record, table(path.parent / files["csv"])


# ------------------------------------------------------------------------------------------------ views


@pytest.fixture(scope="module")
def out(chain, tmp_path_factory):
    """A finished A2 run, and the figures of views that `test_figures_of_views` asks for."""
    folder = tmp_path_factory.mktemp("analysis") / "out"
    shutil.copytree(chain, folder)
    return folder


def test_distances(out, capsys):
    words = ["analysis=distances", "analysis.views=[wsearch,wperturb,expert]", "analysis.num_views=2", f"out={out}"]
    assert run(analyze, *words) == 0
    record, rows = check_record(records(out)[0], "distances")
    assert len(rows) == 48 * 2 * 3
    assert set(record["summary"]) == {"W-search", "W-perturb", "expert"}
    # W-search's are those that the cache holds, measured when it was made.
    (cache,) = (path for path in artifacts(out, "views") if path.name.startswith("wsearch"))
    stored = np.load(cache / "distances.npy")
    ours = [row for row in rows if row["view"] == "W-search"]
    expected = [stored[int(row["image"]), int(row["k"])] for row in ours]
    np.testing.assert_allclose([float(row["distance"]) for row in ours], expected, atol=1e-4)
    # A figure of a few images needs no cache of all of them.
    assert {path.name.split("-")[0] for path in artifacts(out, "views")} == {"wsearch"}
    before = (records(out)[0].stat().st_mtime_ns, stamps(out))
    capsys.readouterr()
    assert run(analyze, *words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == (records(out)[0].stat().st_mtime_ns, stamps(out))
    assert run(analyze, *words, "force=true") == 0
    assert records(out)[0].stat().st_mtime_ns > before[0]


@pytest.mark.slow
def test_views_made_for_a_figure_are_those_of_a_cache(out):
    from assimilate import make_views

    assert run(analyze, "analysis=distances", "analysis.views=[wperturb]", f"out={out}") == 0
    (path,) = (path for path in records(out) if list(json.loads(path.read_text())["summary"]) == ["W-perturb"])
    few = path.with_name("distances.csv").read_bytes()
    assert run(make_views, "view=wperturb", f"out={out}") == 0
    assert run(analyze, "analysis=distances", "analysis.views=[wperturb]", "force=true", f"out={out}") == 0
    assert path.with_name("distances.csv").read_bytes() == few


@pytest.mark.slow
def test_settings_behind_a_views_name(out):
    views = "analysis.views=[wperturb,'wperturb view.sigma=0.6','wsearch view.epsilon1=0.1']"
    assert run(analyze, "analysis=distances", views, "view.encoder.seed=0", f"out={out}") == 0
    summaries = [json.loads(path.read_text())["summary"] for path in records(out)]
    (summary,) = (found for found in summaries if "W-perturb, sigma=0.6" in found)
    assert summary["W-perturb, sigma=0.6"]["mean"] > summary["W-perturb"]["mean"]
    assert "W-search, epsilon1=0.1" in summary


def test_offsets_in_both_spaces(out):
    assert run(analyze, "analysis=tsne", "analysis.views=[wsearch,wperturb,wmix]", f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("tsne"))
    _, rows = check_record(path, "tsne")
    assert len(rows) == 2 * 3 * 96
    assert {row["space"] for row in rows} == {"w", "z"}
    assert np.isfinite([[float(row["x"]), float(row["y"])] for row in rows]).all()


def test_searching_again_finds_the_views_of_the_cache(out):
    """Offsets in W are those of the very views whose offsets in Z are shown."""
    import torch

    from assimilate.figures.gallery import Gallery
    from assimilate.figures.inputs import kinds_of
    from assimilate.figures.views import _codes_and_pixels
    from assimilate.jobs.session import Session
    from tests.chain_run import SMOKE

    words = [*SMOKE, "analysis=tsne", f"out={out}"]
    session = Session(make_job("analyze", compose(words), words))
    indices = np.array([3, 50, 77])
    for kind in kinds_of(session, ["wsearch", "wperturb", "wmix"]):
        gallery = Gallery(session, indices, 2, 0)
        codes, pixels = _codes_and_pixels(gallery, kind)
        generator = kind.maker.load(kind.generator)
        with torch.no_grad():
            made = generator.synthesize(codes.flatten(0, 1)).clamp(-1, 1)
        seen = ((made + 1) * 127.5).unflatten(0, pixels.shape[:2])
        assert (seen - pixels.float()).abs().max() <= 0.75
        if kind.session.store.has(kind.cache):
            stored = np.load(kind.cache.path / "images.npy")[indices]
            np.testing.assert_array_equal(stored, pixels.numpy())


@pytest.mark.slow
def test_grid(out):
    assert run(train, "+table3=expert_expert_viewmaker_a2", "knn.every_n_epochs=0", f"out={out}") == 0
    (folder,) = (path.parent for path in results(out) if "viewmaker" in str(path))
    columns = "analysis.columns=[original,reconstruction,expert,wsearch,wperturb,wmix,viewmaker]"
    assert run(analyze, "analysis=grid", columns, f"analysis.viewmaker={folder}", f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("grid"))
    record, rows = check_record(path, "grid")
    assert len(rows) == 8
    assert "viewmaker" in record["caption"].lower()


def test_grid_without_a_viewmaker(out):
    before = set(records(out))
    assert run(analyze, "analysis=figure10", "analysis.num_images=3", f"out={out}") == 0
    (path,) = set(records(out)) - before
    record, rows = check_record(path, "grid")
    assert len({row["label"] for row in rows}) == 3  # one class after the other
    assert record["caption"].endswith("original, reconstruction, W-search (×2), W-perturb (×2).")


@pytest.mark.parametrize(
    ("dataset", "analysis", "figure"),
    [
        ("cifar100", "distances", "Figure 2"),
        ("cifar100", "tsne", "Figure 2"),
        ("cifar10", "distances", None),
        ("cifar10", "pairs", "Table 2"),
        ("cifar10", "figure3", "Figure 3"),
        ("cifar10", "figure8", "Figure 8"),
        ("cifar100", "figure9", "Figure 9"),
        ("tinyimagenet", "figure10", "Figure 10"),
        ("tinyimagenet", "figure3", None),
    ],
)
def test_a_figure_of_the_paper_is_one_with_its_images_only(tmp_path, dataset, analysis, figure):
    words = [f"dataset={dataset}", f"analysis={analysis}", f"out={tmp_path}"]
    job = make_job("analyze", compose(words), words)
    assert Analysis(job, "title", []).figure == figure


# ------------------------------------------------------------------------------------------------ Table 1


def test_a_pair_is_a_run(out, capsys):
    words = ["analysis.pair=[original,generated]", "view=wsearch", f"out={out}"]
    assert run(analyze, *words) == 0
    (path,) = (path for path in results(out) if "analysis.pair" in str(path))
    assert path.is_relative_to(out / "smoke" / "adhoc")
    result = json.loads(path.read_text())
    assert (result["dataset"], result["seed"], result["budget"], result["row"]) == ("digits", 0, "smoke", None)
    for name in ("mi", "inner_product", "l2"):
        cell = result["metrics"][name]
        assert set(cell) == {"mean", "std", "n", "values"}
        assert cell["mean"] == pytest.approx(np.mean(cell["values"]))
        assert result["protocols"][name]
    assert result["spread"]["mi"]["n"] == 128 // 32
    assert result["spread"]["l2"]["n"] == 128
    assert -1 <= result["metrics"]["inner_product"]["mean"] <= 1
    written = path.stat().st_mtime_ns
    capsys.readouterr()
    assert run(analyze, *words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written
    assert run(analyze, *words, "seed=1") == 0
    other = json.loads((path.parent.with_name("seed1") / "metrics.json").read_text())
    assert other["artifacts"] == result["artifacts"]  # the views stay the same
    assert other["metrics"]["mi"]["mean"] != result["metrics"]["mi"]["mean"]


def test_a_row_of_table1(out):
    assert run(analyze, "+table1=wsearch_expert", "dataset=digits", f"out={out}") == 0
    result = json.loads((out / "smoke/table1/wsearch_expert/digits/seed0/metrics.json").read_text())
    assert result["row"] == "table1/wsearch_expert"
    assert result["paper"] == {}  # the paper has no digits
    assert set(result["metrics"]) == {"mi", "inner_product", "l2"}
    assert run(analyze, "+table1=original_expert", "analysis.mine.lr=0.001", f"out={out}") == 0
    (changed,) = (path for path in results(out) if "mine.lr" in str(path))
    assert changed.is_relative_to(out / "smoke" / "adhoc")  # a changed row never passes for the row
    assert json.loads(changed.read_text())["row"] is None
    assert run(train, "+table1=wsearch_expert", f"out={out}") == 2


@pytest.mark.parametrize(
    ("row", "moving", "unmoving"),
    [
        ("original_expert", ["view.encoder.seed=1", "data.expert.crop_scale=[0.5,1]"], ["trainer=cpu", "force=true"]),
        ("original_wsearch", ["view.n_cached=4", "epochs=300", "generator.truncation=0.5"], ["prepare=plan"]),
    ],
)
def test_identity_of_a_measurement(tmp_path, row, moving, unmoving):
    """What moves f or the views makes another run; what only a training reads cannot be given."""

    def place(*overrides):
        words = [f"+table1={row}", "dataset=cifar10", f"out={tmp_path}", *overrides]
        return make_job("analyze", compose(words), words)

    own = place()
    assert own.run_dir == tmp_path.resolve() / "paper" / "table1" / row / "cifar10" / "seed0"
    assert set(own.config["paper"]["cifar10"]) == {"mi", "inner_product"}
    assert place("seed=3", *unmoving).run_dir == own.run_dir.with_name("seed3")
    assert [place(word).row for word in (*moving, "analysis.mine.num_epochs=3")] == [None] * (len(moving) + 1)
    with pytest.raises(UserError, match="trains nothing but f"):
        place("probe.lr=1")


def test_distance_of_expert_views_is_epsilon1(out):
    """Measured by another path: the calibration that W-search's ε1 comes from."""
    assert run(analyze, "analysis.pair=[original,expert]", f"out={out}") == 0
    (path,) = (path for path in results(out) if "original,expert" in str(path))
    (calibration,) = artifacts(out, "calibrations")
    epsilon1 = json.loads((calibration / "calibration.json").read_text())["epsilon1"]
    result = json.loads(path.read_text())
    spread = result["spread"]["l2"]["std"] / np.sqrt(128)
    assert abs(result["metrics"]["l2"]["mean"] - epsilon1) < 6 * spread
    assert not [label for label in result["artifacts"] if label.startswith("views/")]


def test_all_pairs(out):
    assert run(analyze, f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("pairs"))
    record, rows = check_record(path, "pairs")
    assert [(row["first"], row["second"]) for row in rows] == [
        ("original", "expert"),
        ("original", "W-search"),
        ("W-search", "expert"),
        ("original", "W-perturb"),
        ("W-perturb", "expert"),
    ]
    assert len(record["summary"]) == 5
    # The same numbers as the run of that pair.
    assert run(analyze, "analysis.pair=[original,generated]", "view=wsearch", f"out={out}") == 0
    (alone,) = (path for path in results(out) if "original,generated" in str(path) and path.parent.name == "seed0")
    mine = json.loads(alone.read_text())["metrics"]
    assert float(rows[1]["mi"]) == pytest.approx(mine["mi"]["mean"], rel=1e-6)
    assert float(rows[1]["inner_product"]) == pytest.approx(mine["inner_product"]["mean"], rel=1e-6)


# ------------------------------------------------------------------------------------------------ runs


@pytest.mark.slow
def test_curves_and_spread_of_runs(out, capsys):
    assert run(train, "assim=simclr", "seed=1", f"out={out}") == 0
    assert run(train, "assim=simclr", f"out={out}") == 0
    runs = "analysis.runs=['smoke/adhoc/assim_simclr*/digits','smoke/adhoc/default*/digits/seed0']"
    runs = runs.replace("assim_simclr", "assim=simclr")
    assert run(analyze, "analysis=curves", runs, f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("curves"))
    record, rows = check_record(path, "curves")
    assert set(record["summary"]) == {"SimCLR", "A2 with W-search"}
    assert record["summary"]["SimCLR"]["seeds"] == 2
    assert len(rows) == 3 * 3
    assert len(record["runs"]) == 3
    assert run(analyze, "analysis=alignment_uniformity", runs, f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("alignment"))
    record, rows = check_record(path, "alignment_uniformity")
    assert len(rows) == 3
    assert all(float(row["alignment"]) >= 0 > float(row["uniformity"]) for row in rows)
    capsys.readouterr()
    assert run(analyze, "analysis=curves", "analysis.runs=[table3/expert_wsearch_a1,nowhere,x/*/y]", f"out={out}") == 2
    shown = capsys.readouterr().err
    assert "python -m assimilate.train +table3=expert_wsearch_a1 dataset=digits budget=smoke" in shown
    assert "nowhere" in shown
    assert "x/*/y" in shown


# ------------------------------------------------------------------------------------------------ plan, never, errors


def test_fewer_views_of_a_cache_are_another_figure(tmp_path, capsys):
    """A figure of all views is no figure of the first one, though the cache is the same."""

    def place(*words):
        assert run(analyze, *words, "prepare=plan", f"out={tmp_path}") == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  result  "))

    for kind in ("analysis=pairs", "analysis=distances"):
        assert len({place(kind), place(kind, "view.n_used=1")}) == 2
    assert place(kind, "view.n_used=2") == place(kind)  # all that the smoke budget caches


def test_plan_builds_nothing(tmp_path, capsys):
    for words in (
        ["analysis.pair=[original,generated]", "view=wperturb"],
        ["analysis=distances"],
        ["analysis=grid"],
        [],
    ):
        assert run(analyze, *words, "prepare=plan", f"out={tmp_path}") == 0
        shown = capsys.readouterr().out
        assert "  build   " in shown
        assert "  result  " in shown
        assert ("W-perturb views of 48 images, for this figure alone" in shown) == ("analysis=distances" in words)
    assert not list(tmp_path.rglob("manifest.json"))


def test_never_names_the_command(tmp_path, out, capsys):
    assert run(analyze, "analysis=distances", "prepare=never", f"out={tmp_path}") == 2
    assert "python -m assimilate." in capsys.readouterr().err
    assert (
        run(analyze, "view=wmix", "analysis=grid", "analysis.columns=[original,wmix]", "prepare=never", f"out={out}")
        == 2
    )
    assert "views/digits/wmix" in (error := capsys.readouterr().err)
    assert "python -m assimilate.make_views" in error
    assert "view=wmix" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["analysis=nothing"], "nothing"),
        (["analysis.pair=[original,original]"], "two different ones of original, expert, generated"),
        (["analysis.pair=[original,wsearch]"], "two different ones"),
        (["analysis.pair=[original,generated]", "view=crop50"], "the generated view is one of a cache"),
        (["analysis=distances", "analysis.pair=[original,expert]"], "pair"),
        (["analysis=distances", "analysis.views=[wsearch,nothing]"], "nothing cannot be used with analysis=distances"),
        (["analysis=distances", "analysis.views=[]"], "at least one"),
        (["analysis=distances", "analysis.views=[wsearch,wsearch]"], "twice"),
        (["analysis=distances", "analysis.views=['wsearch epsilon1=1']"], "view.KEY=VALUE"),
        (["analysis=distances", "analysis.views=['wsearch view.sigma=1']"], "view.sigma"),
        (["analysis=distances", "analysis.views=[viewmaker]"], "give analysis.viewmaker="),
        (["analysis=distances", "analysis.viewmaker=somewhere"], "would be ignored"),
        (["analysis=distances", "view=wmix"], "has no such view; give 'analysis.views=[wmix]'"),
        (["analysis=tsne", "analysis.views=[expert]"], "expert cannot be used with analysis=tsne"),
        (["analysis=tsne", "analysis.num_iterations=10"], "≥ 250"),
        (["analysis=grid", "analysis.num_images=40", "analysis.num_views=11"], "more than 400 pictures"),
        (["analysis=curves", "analysis.runs=all"], "give rows, folders of finished runs"),
        (["analysis=curves", "analysis.runs=[a,b]", "analysis.labels=[a]"], "as many names as analysis.runs"),
        (["probe.lr=1"], "trains nothing but f"),
        (["assim=a1"], "trains nothing but f"),
    ],
)
def test_bad_input_is_named_before_anything_starts(tmp_path, words, message, capsys):
    assert run(analyze, *words, f"out={tmp_path}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("manifest.json"))


def test_fewer_images_than_a_batch_of_mine(out, capsys):
    assert run(analyze, "analysis.mine.batch_size=20", "dataset.max_train_images=16", "batch_size=8", f"out={out}") == 2
    assert "analysis.mine.batch_size=20 exceeds the 16 training images" in capsys.readouterr().err


def test_settings_of_an_analysis_are_refused_elsewhere(tmp_path, capsys):
    assert run(train, "analysis=distances", f"out={tmp_path}") == 2
    assert "python -m assimilate.analyze reads it" in capsys.readouterr().err
    assert run(train, "analysis.pair=[original,expert]", f"out={tmp_path}") == 2
    assert "is a measurement" in capsys.readouterr().err


def test_a_viewmaker_that_is_none(out, capsys):
    words = ["analysis=grid", "analysis.columns=[original,viewmaker]", f"out={out}"]
    assert run(analyze, *words, "analysis.viewmaker=nowhere") == 2
    assert "no finished run is there" in capsys.readouterr().err
    folder = next(path.parent for path in results(out) if "default" in str(path))
    assert run(analyze, *words, f"analysis.viewmaker={folder}") == 2
    assert "trained no Viewmaker" in capsys.readouterr().err
