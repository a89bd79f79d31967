"""Every data set with every recipe: the data set brings the backbone, the recipe the head, whichever composes last."""

import pytest
from omegaconf import OmegaConf

from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import make_job
from assimilate.run.known_keys import CONF

# The data set's own recipe, its backbone, and the stem of a recipe that names none.
DATASETS = {
    "digits": ("digits", "resnet18", "cifar"),
    "cifar10": ("essl", "resnet18", "cifar"),
    "cifar100": ("supcontrast", "resnet50", "cifar"),
    "tinyimagenet": ("supcontrast", "resnet18", "cifar"),
    "imagenet": ("genrep", "resnet50", "imagenet"),
}
# PROTOCOLS 1-3, 11, 12, 14, 15: stem (None: the data set's), projector, hidden and output width, predictor; epochs.
RECIPES = {
    "essl": ((None, "essl", 2048, 2048, None), 800),
    "essl_as_coded": ((None, "essl", 2048, 2048, None), 800),
    "supcontrast": ((None, "supcontrast", None, 128, None), 1200),
    "htdt": (("cifar_maxpool", "htdt", 1024, 128, None), 1000),
    "dkobak": (("cifar", "dkobak", 1024, 128, None), 1000),
    "dkobak_100": (("cifar", "dkobak", 1024, 128, None), 100),
    "clsp": (("cifar", "clsp", 4096, 256, None), 1000),
    "genrep": (("imagenet", "supcontrast", None, 128, None), 20),
    "simsiam": ((None, "simsiam", 2048, 2048, 512), 800),
}
# On the demo's digits two recipes are as narrow and as short as the digits' own, so that rows naming them train there
# in minutes (conf/recipe_dataset): hidden and output width, predictor; epochs.
ON_DIGITS = {"htdt": ((128, 64, None), 40), "simsiam": ((128, 64, 32), 40)}


@pytest.fixture(scope="module", autouse=True)
def one_loader():
    with hydra_ready():
        yield


def test_every_recipe_is_composed():
    assert {path.stem for path in (CONF / "recipe").glob("*.yaml")} - {"digits", "narrow"} == set(RECIPES)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_itself_on_every_data_set(dataset, recipe):
    config = compose([f"dataset={dataset}", f"recipe={recipe}", "assim=simclr"])
    (stem, projector, hidden_dim, output_dim, predictor_dim), epochs = RECIPES[recipe]
    width = 64
    if dataset == "digits" and recipe in ON_DIGITS:
        width, ((hidden_dim, output_dim, predictor_dim), epochs) = 8, ON_DIGITS[recipe]
    _, backbone, own_stem = DATASETS[dataset]
    if recipe == "genrep" and dataset in ("digits", "cifar10"):
        backbone = "resnet50"  # GenRep's, where the data set names none
    assert OmegaConf.to_container(config.encoder) == {
        "backbone": backbone,
        "width": width,
        "stem": own_stem if stem is None else stem,
        "initialization": "default_stem" if recipe in ("htdt", "dkobak", "dkobak_100") else "fan_out",
        "projector": projector,
        "hidden_dim": hidden_dim,
        "output_dim": output_dim,
        "predictor_dim": predictor_dim,
    }
    # Table 9: SupContrast's recipe runs for 1000 epochs on TinyImageNet, and no other recipe does because of it.
    assert config.epochs == (1000 if (recipe, dataset) == ("supcontrast", "tinyimagenet") else epochs)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_data_set_brings_its_recipe(dataset):
    recipe = DATASETS[dataset][0]
    own, named = compose([f"dataset={dataset}"]), compose([f"dataset={dataset}", f"recipe={recipe}"])
    assert own == named


def test_imagenet_is_trained_and_probed_as_genrep_does():
    overrides = ("dataset=imagenet", "assim=simclr")
    config = make_job("train", compose(overrides), overrides).config
    assert (config["epochs"], config["batch_size"], config["optimizer"]["lr"]) == (20, 256, 0.03)
    assert (config["loss"]["name"], config["loss"]["temperature"], config["probe"]["name"]) == ("ntxent", 0.1, "genrep")
    assert (config["dataset"]["image_size"], config["data"]["crop_size"]) == (128, 112)
