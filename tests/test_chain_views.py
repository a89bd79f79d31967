"""Every kind of view of the finished run's data set, from the artifacts that are there."""

import numpy as np
import pytest
from PIL import Image

from assimilate import make_views, train
from tests.chain_run import artifacts, results, run

pytestmark = pytest.mark.xdist_group("chain")


def test_cached_and_fresh_expert_views(copy):
    assert run(train, "view=expert", f"out={copy}") == 0
    assert run(train, "+table3=expert_expert_expert_a2", "knn.every_n_epochs=0", f"out={copy}") == 0
    assert len(artifacts(copy, "views")) == 2


def test_cached_expert_views_are_as_large_as_the_crops(copy):
    words = ["view=expert", "view.cached=true", "data.crop_size=12", "assim.generated_transform=none"]
    assert run(train, *words, f"out={copy}") == 0
    assert run(make_views, *words, "preview=true", f"out={copy}") == 0
    (views,) = (path for path in artifacts(copy, "views") if path.name.startswith("expert"))
    stored = np.load(views / "images.npy")
    assert stored.shape == (128, 2, 3, 12, 12)
    (page,) = (path.parent / "report.html" for path in results(copy) if "view=expert" in str(path))
    assert "not measured: views of 12², images of 16²" in page.read_text()
    (preview,) = (copy / "previews").rglob("expert-*.png")
    picture = np.asarray(Image.open(preview))
    scale = 96 // 16
    # The smaller view stands in the middle of its place: two pixels from the top and from the left of it.
    cell = picture[2 * scale :: scale, (16 + 2 + 6 + 2) * scale :: scale][:12, :12]
    assert np.array_equal(cell[..., :3].transpose(2, 0, 1), stored[0, 0])
    assert not picture[: 2 * scale, (16 + 2 + 6) * scale : (16 + 2 + 6 + 16) * scale, 3].any()


def test_perturbed_views(copy):
    assert run(train, "view=wperturb", "loss=ntxent", f"out={copy}") == 0
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch", "wperturb"}
    assert len(artifacts(copy, "generators")) == 1


def test_views_made_while_training_need_no_cache(copy, capsys):
    command = ["view=wperturb", "view.cached=false", "view.sigma=[0,0,.1,.1,.3,.3]", f"out={copy}"]
    assert run(train, *command) == 0
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch"}
    assert len(artifacts(copy, "encoders")) == 3
    assert run(train, *command) == 0
    assert "built:  nothing" in capsys.readouterr().out
    assert run(make_views, *command) == 2
    assert "needs no cached views" in capsys.readouterr().err


def test_views_of_a_viewmaker(copy):
    """With CIFAR-10's settings for it, which are Viewmaker's own."""
    own = ["data.std=[0.247,0.243,0.261]", "encoder.initialization=default"]
    assert run(train, "+table3=expert_expert_viewmaker_a2", *own, f"out={copy}") == 0
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch"}
    (encoder,) = (path for path in artifacts(copy, "encoders") if path.name.startswith("a2-viewmaker"))
    from assimilate.encoder.checkpoint import load_encoder

    trained = load_encoder(encoder / "encoder.pt")
    assert (trained.spec.initialization, trained.std) == ("default", (0.247, 0.243, 0.261))
    history = (encoder / "history.csv").read_text().splitlines()
    assert {"loss", "viewmaker", "change"} <= set(history[0].split(","))
    (report,) = (path for path in copy.rglob("report.html") if "a2-viewmaker" in path.read_text())
    assert "4 Viewmaker views, drawn for this page" in report.read_text()
    assert run(train, "view=viewmaker", "assim.generated_transform=expert", f"out={copy}") == 2


@pytest.mark.parametrize("words", [("view.frozen=false",), ("view.frozen=true",), ("view.solver=ray",)], ids=str)
def test_views_that_are_searched_for_while_training(copy, words):
    assert run(train, "view=online", *words, f"out={copy}") == 0
    assert len(artifacts(copy, "encoders")) == 3
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch"}


def test_mixed_views(copy, capsys):
    assert run(train, "view=wmix", f"out={copy}") == 0
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch", "wmix"}
    assert len(artifacts(copy, "generators")) == 1
    assert run(make_views, "view=wmix", "view.split=7", f"out={copy}") == 2
    assert "view.split=7: the generator has 6 codes" in capsys.readouterr().err
