"""dataset=imagenet_fake at toy size: its settings, and where its artifacts are."""

from pathlib import Path

TOY = (
    *("dataset=imagenet_fake", "dataset.image_size=16", "dataset.tile=16", "generator.latent_width=15"),
    *("encoder=resnet18", "encoder.stem=cifar", "data.crop_size=14", "logger=none"),
    *("budget=smoke", "trainer=cpu", "trainer.num_threads=1"),
)
# Labelled images that ship with scikit-learn stand for the real ImageNet.
PROBED_ON_DIGITS = (
    "dataset.evaluation._target_=assimilate.data.dataset.Digits",
    *("dataset.evaluation.name=digits", "dataset.evaluation.image_size=16"),
    *("dataset.evaluation.mean=null", "dataset.evaluation.std=null"),
)


def artifacts(out: Path, kind: str, dataset: str = "imagenet_fake") -> list[Path]:
    return sorted(path for path in (out / "artifacts" / kind / dataset).glob("*") if path.is_dir())
