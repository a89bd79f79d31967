"""View cards of digits at the smoke budget, through the commands that users type."""

import json
import shutil

import numpy as np
import pytest

from assimilate import analyze, report
from assimilate.errors import UserError
from assimilate.figures.card import choose
from assimilate.figures.inputs import kinds_of
from assimilate.jobs.session import Session
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.chain_run import SMOKE, artifacts, results, run
from tests.test_analyze import check_record, records

pytestmark = pytest.mark.xdist_group("chain")


@pytest.fixture(scope="module")
def out(chain, tmp_path_factory):
    """A finished A2 run with its cache."""
    folder = tmp_path_factory.mktemp("card") / "out"
    shutil.copytree(chain, folder)
    return folder


def test_scores_and_what_stands_beside_them(out):
    """Every kind of views, measured like the expert views beside it; the same again; and on the page of the run."""
    assert run(analyze, "analysis=card", "analysis.views=[wsearch,expert]", f"out={out}") == 0
    (path,) = (path for path in records(out) if path.parent.name.startswith("card"))
    record, rows = check_record(path, "card")
    cards = record["summary"]
    assert list(cards) == ["W-search", "expert"]
    assert {(card["num_images"], card["num_views"], card["num_others"]) for card in cards.values()} == {
        (48, 2, 80),
        (48, 4, 80),
    }
    ours = cards["W-search"]["scores"]
    # What the cache holds of the same images, measured when it was made.
    (cache,) = (cache for cache in artifacts(out, "views") if cache.name.startswith("wsearch"))
    assert cards["W-search"]["cache"] == f"views/digits/{cache.name}"
    images = np.sort(np.random.default_rng([0, 4]).permutation(128)[:48])
    stored = np.load(cache / "distances.npy")[images]
    assert ours["distance"]["value"] == pytest.approx(stored.mean(), abs=1e-5)
    relative = stored / cards["W-search"]["epsilon1"] - 1
    assert ours["epsilon1_error"]["value"] == pytest.approx(100 * np.sqrt((relative**2).mean()), rel=1e-3)
    for score in cards["expert"]["scores"].values():
        assert score["expert"] == score["value"]
    assert len(rows) == sum(len(card["scores"]) for card in cards.values())
    assert run(report, f"out={out}") == 0
    learned = [path for path in results(out) if cards["W-search"]["cache"] in json.loads(path.read_text())["artifacts"]]
    assert learned
    assert all(f"views/digits/{cache.name} are worth" in path.with_name("report.html").read_text() for path in learned)


def test_views_from_elsewhere(out, tmp_path):
    """Copies of the images: as far from them as rounding, alike in f, as pure as the images."""
    (images,) = (path / "train_images.npy" for path in artifacts(out, "datasets"))
    np.save(tmp_path / "copies.npy", np.load(images)[:, None].repeat(2, axis=1))
    views = ["view=external", f"view.path={tmp_path}/copies.npy", "analysis.views=[external]"]
    assert run(analyze, "analysis=card", *views, f"out={out}") == 0
    (path,) = (path for path in records(out) if "views from elsewhere" in json.loads(path.read_text())["summary"])
    scores = json.loads(path.read_text())["summary"]["views from elsewhere"]["scores"]
    assert [scores[name]["value"] for name in ("distance", "spread", "pixel_diversity")] == [0, 0, 0]
    for name in ("hardness", "realism", "nearest", "purity_knn", "purity_linear"):
        assert scores[name]["value"] == pytest.approx(scores[name]["real"], rel=1e-5)
    assert scores["realism"]["value"] < scores["realism"]["expert"]
    before = [path.with_name(f"card.{kind}").read_bytes() for kind in ("csv", "png", "pdf")]
    assert run(analyze, "analysis=card", *views, "force=true", f"out={out}") == 0
    assert [path.with_name(f"card.{kind}").read_bytes() for kind in ("csv", "png", "pdf")] == before


def test_images_and_others_share_none():
    for count, num_images, num_others in ((10, None, None), (100, 20, 30), (100, 80, 10), (11, 1, 1), (40, 4, 1000)):
        scored, others = choose(count, num_images, num_others, seed=0)
        assert len(scored) <= count // 2
        assert len(others) >= max(5, min(len(scored), num_others or count))
        assert len({*scored, *others}) == len(scored) + len(others) <= count
    larger = choose(100, 40, None, seed=0)[0]
    assert set(choose(100, 20, None, seed=0)[0]) < set(larger) != set(choose(100, 40, None, seed=1)[0])
    with pytest.raises(UserError, match=r"9 training images .* 10 images or more"):
        choose(9, None, None, seed=0)


def test_one_kind_with_two_settings_stands_side_by_side(out):
    """Under names, colours and keys of their own."""
    words = [*SMOKE, "analysis=grid", f"out={out}"]
    session = Session(make_job("analyze", compose(words), words))
    kinds = kinds_of(session, ["wsearch view.solver=ray", "wsearch", "wperturb view.sigma=0.1", "wperturb"])
    assert [kind.label for kind in kinds] == ["W-search, solver=ray", "W-search", "W-perturb, sigma=0.1", "W-perturb"]
    assert len({kind.cache.label for kind in kinds}) == len({kind.colour for kind in kinds}) == 4
    assert [kind.session.store.has(kind.cache) for kind in kinds] == [False, True, False, False]
