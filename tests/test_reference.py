"""f's training: the run's own settings, but for those of `view_encoder`."""

from pathlib import Path

import pytest

from assimilate.artifacts.chain import build_chain
from assimilate.data.dataset import Images
from assimilate.errors import UserError
from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import make_job

FACTS = Images(fingerprint="0" * 12, num_train=50000, labelled=True, has_test=True, mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.fixture(scope="module", autouse=True)
def one_loader():
    with hydra_ready():
        yield


def job_of(*overrides):
    overrides = ("dataset=cifar10", *overrides)
    return make_job("train", compose(overrides), overrides)


def chain_of(*overrides):
    return build_chain(job_of(*overrides).config, Path("/nowhere"), FACTS)


def test_a2_on_the_views_of_a_simsiam_f_is_trained_as_its_baseline():
    # Table 12's W-search-SimSiam + A2-InfoNCE: SimSiam's f (PROTOCOLS 11), CIFAR-10's recipe for the run (Table 9).
    chain = chain_of("view=wsearch", "assim=a2", "view_encoder=simsiam")
    run, f = chain.encoder.step, chain.reference.step
    assert (run.loss.word, run.optimizer.weight_decay) == ("infonce", 5e-5)
    assert (run.network.projector.word, run.network.predictor_dim) == ("essl", None)
    assert (f.loss.word, f.optimizer.weight_decay) == ("simsiam", 5e-4)
    assert (f.network.projector.word, f.network.predictor_dim) == ("simsiam", 512)
    # It is the SimSiam row's own encoder, and its views are those of A2-SimSiam.
    assert chain.reference.label == chain_of("recipe=simsiam", "assim=simclr").encoder.label
    a2_simsiam = chain_of("recipe=simsiam", "view=wsearch", "assim=a2", "loss=simsiam")
    assert chain.views.label == a2_simsiam.views.label
    # Beside another f the run's training is the same.
    ordinary = chain_of("view=wsearch", "assim=a2")
    assert ordinary.encoder.step.identity["network"] == run.identity["network"]
    assert ordinary.reference.step.optimizer == run.optimizer


def test_a_budget_caps_what_f_has_of_its_own():
    small = chain_of("view_encoder=simsiam", "budget=smoke").reference
    assert small.step.network.projector.hidden_dim == 64
    assert small.label == chain_of("recipe=simsiam", "assim=simclr", "budget=smoke").encoder.label


def test_f_follows_the_run_in_all_else():
    f = chain_of("view_encoder=simsiam", "epochs=100", "optimizer.lr=0.02").reference.step
    assert (f.epochs, f.optimizer.lr, f.optimizer.weight_decay) == (100, 0.02, 5e-4)


def test_another_f_is_another_run():
    assert job_of("view_encoder=simsiam").identity != job_of().identity


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["view_encoder=simsiam", "assim=simclr"], "view_encoder would be ignored.*no f"),
        (["view_encoder=simsiam", "view=wperturb"], "view_encoder would be ignored.*no f"),
        (["view_encoder=simsiam", "encoder.predictor_dim=64"], "encoder.predictor_dim would be ignored"),
        (["simclr_loss=simsiam"], r"simsiam needs encoder\.predictor_dim.*view_encoder=simsiam for f \(simclr_loss\)"),
        (["+view.encoder.training={seed: 1}"], r"view\.encoder\.training\.seed is no setting"),
        (["+view.encoder.training={encoder: {depth: 1}}"], r"nothing reads view\.encoder\.training\.encoder\.depth"),
        (["+view.encoder.training={epochs: 0}"], r"view\.encoder\.training\.epochs=0 cannot be used"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_f_cannot_have_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        job_of(*overrides)


def test_an_inversion_that_looks_through_f_needs_no_search():
    chain = chain_of("view=wperturb", "inversion.perceptual=encoder")
    assert chain.reference is not None
    assert chain.reference.label == chain_of("assim=simclr").encoder.label
    assert chain.latents.parents["reference"].label == chain.reference.label
