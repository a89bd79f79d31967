"""Values that no run can use, said before anything starts: the key, the value, what is allowed."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assimilate.errors import UserError
from assimilate.settings.arrangement import check_arrangement
from assimilate.settings.identity import data_is_sampled, needs_generator, uses_view
from assimilate.settings.ignored import check_used
from assimilate.settings.objective import check_objective
from assimilate.settings.reference import OWN_SETTINGS, check_reference, reference_overrides, reference_run
from assimilate.settings.rules import CHECKS
from assimilate.settings.view import check_view

STYLEGAN_SIZES = (8, 16, 32, 64, 128, 256)
# Stages whose images can be shared among processes with shard=k/n.
SHARING_STAGES = ("invert", "make_views")


def _select(config: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    node: Any = config
    for part in key.split(".") if key else ():
        if not isinstance(node, Mapping) or part not in node:
            return False, None
        node = node[part]
    return True, node


def number_in_quotes(value: Any) -> int | float | None:
    """The number that a text spells, as an environment variable or quotes on the command line give it; None: none."""
    if not isinstance(value, str):
        return None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return None


def read_numbers(config: Mapping[str, Any]) -> None:
    """Put numbers in the place of texts that spell them, where a number is what the key may hold."""
    for check in CHECKS:
        for settings in (config, reference_overrides(config)):
            present, value = _select(settings, check.key)
            number = number_in_quotes(value) if present and not check.holds(value) else None
            if number is not None and check.holds(number):
                group, _, name = check.key.rpartition(".")
                _select(settings, group)[1][name] = number


def check_homes(settings: Any, key: str = "") -> None:
    """Check every path that begins with a home folder, `~/x` or `~user/x`.

    Raises:
        UserError: the system knows no such folder, as in a container whose user has neither HOME nor a name.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            check_homes(value, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, list):
        for value in settings:
            check_homes(value, key)
    elif isinstance(settings, str) and settings.startswith("~") and (settings == "~" or "/" in settings):
        try:
            Path(settings).expanduser()
        except RuntimeError as error:
            raise UserError(
                f"{key}={settings} cannot be used: {settings.split('/')[0]} is no home folder that this system knows; "
                "give the whole path, or set HOME"
            ) from error


def check_values(config: Mapping[str, Any]) -> None:
    """Check every rule.

    Raises:
        UserError: the first rule that does not hold.
    """
    for check in CHECKS:
        for prefix, settings in (("", config), (OWN_SETTINGS, reference_overrides(config))):
            present, value = _select(settings, check.key)
            if present and not check.holds(value):
                shown = repr(value) if number_in_quotes(value) is not None else value
                raise UserError(
                    f"{prefix}{check.key}={shown} cannot be used: allowed is {check.allowed}{check.advice(value)}"
                )
    check_arrangement(config)
    _check_image_size(config)
    check_view(config)
    warmup, epochs = config["optimizer"].get("warmup_epochs", 0), config["epochs"]
    if warmup > epochs:
        raise UserError(
            f"optimizer.warmup_epochs={warmup} exceeds epochs={epochs}: "
            f"give optimizer.warmup_epochs={min(warmup, epochs // 10)} too"
        )
    if config["loss"]["name"] == "simsiam" and config["encoder"]["predictor_dim"] is None:
        raise UserError("loss=simsiam needs encoder.predictor_dim (512 in PROTOCOLS 11): take recipe=simsiam")
    check_reference(config)
    check_objective(config)
    _check_cuda_graphs(config)
    devices = config["trainer"]["devices"]
    if config["batch_size"] % devices:
        raise UserError(
            f"batch_size={config['batch_size']} is global and must divide by trainer.devices={devices}: "
            f"take {config['batch_size'] // devices * devices} or {(config['batch_size'] // devices + 1) * devices}"
        )


def _check_cuda_graphs(config: Mapping[str, Any]) -> None:
    """Refuse trainings whose tensors a CUDA graph would overwrite: each replay takes the memory of the one before.

    Raises:
        UserError: so.
    """
    compiling = config["trainer"]["compile"]
    if isinstance(compiling, bool):
        return
    instead = "which CUDA graphs overwrite; take trainer.compile=true"
    for prefix, settings in (("", config), (OWN_SETTINGS, reference_overrides(config))):
        accumulate = settings.get("accumulate_grad_batches", 1)
        if accumulate > 1:
            raise UserError(
                f"trainer.compile={compiling} cannot be used with {prefix}accumulate_grad_batches={accumulate}: it "
                f"adds to the gradients of the batch before, {instead}"
            )
    if uses_view(config) and config["view"]["name"] == "online" and not config["view"]["frozen"]:
        raise UserError(
            f"trainer.compile={compiling} cannot be used with view=online and view.frozen=false: the search looks "
            f"through the backbone and then the projector without gradients, {instead}"
        )


def _check_image_size(config: Mapping[str, Any]) -> None:
    """Refuse images that neither a StyleGAN2 nor the encoder of the inversion can make or read, where one of them does.

    Raises:
        UserError: so.
    """
    size, generator, inversion = config["dataset"]["image_size"], config["generator"], config["inversion"]
    inverts = needs_generator(config) and not data_is_sampled(config)
    if size in STYLEGAN_SIZES or config["checkpoint"] is not None or not (inverts or data_is_sampled(config)):
        return
    allowed = f"{', '.join(map(str, STYLEGAN_SIZES[:-1]))} or {STYLEGAN_SIZES[-1]}"
    if generator["name"] == "stylegan2":
        raise UserError(
            f"dataset.image_size={size} cannot be used: allowed is {allowed}: StyleGAN2 doubles from 4 (a run without "
            "generated views, assim=simclr, or a generator of your own, generator._target_=, takes other sizes)"
        )
    if inverts and inversion["checkpoint"] is None and inversion["latents"] is None:
        raise UserError(
            f"dataset.image_size={size} cannot be used: allowed is {allowed}: the encoder of the inversion halves down "
            "to 4 (other sizes need latents of your own, inversion.latents=)"
        )


def check_stage(config: Mapping[str, Any], stage: str) -> None:
    """Refuse what a stage would ignore of how it is to do its work.

    Raises:
        UserError: shard= with another stage than those that share their work, or with images that are decoded; verify=
            or preview= with another than make_views; two of shard, verify, preview and force that exclude each other.
    """
    asked = [key for key in ("verify", "shard", "preview", "force") if config[key] not in (None, False)]
    for key in ("verify", "preview"):
        if key in asked and stage != "make_views":
            raise UserError(f"{key}=true would be ignored: only assimilate.make_views looks at a cache of views")
    if len(asked) > 1 and asked != ["preview", "force"]:
        raise UserError(
            f"{asked[0]}={str(config[asked[0]]).lower()} and {asked[1]}={str(config[asked[1]]).lower()} exclude each "
            "other: give one of them"
        )
    samples = stage == "prepare_data" and data_is_sampled(config)
    if config["shard"] is not None and stage not in SHARING_STAGES and not samples:
        raise UserError(
            f"shard={config['shard']} would be ignored: assimilate.{stage} does its work as a whole, only "
            f"{' and '.join(SHARING_STAGES)} share theirs, and prepare_data with a data set that a generator makes"
        )


def accumulation_notice(config: Mapping[str, Any]) -> list[str]:
    """What accumulating batches does not do, for a user who wants a larger batch."""
    accumulate, batch_size = config["accumulate_grad_batches"], config["batch_size"]
    if accumulate == 1:
        return []
    seen = (
        "BatchNorm sees them" if config["loss"]["name"] == "simsiam" else "they are contrasted, and seen by BatchNorm,"
    )
    return [
        f"accumulate_grad_batches={accumulate} averages the gradients of {accumulate} batches, but {seen} one by one: "
        f"this is not batch_size={accumulate * batch_size}"
    ]


def check_batch_size(config: Mapping[str, Any], num_train: int) -> None:
    """Refuse a batch that the data set cannot fill, before hours are spent upstream of the training.

    Raises:
        UserError: drop_last, and fewer training images than a batch holds; or no two images at all.
    """
    if num_train < 2:
        raise UserError(
            f"dataset.root: there is {num_train} training image, but contrastive losses need negatives: give at least 2"
        )
    if config["drop_last"] and config["batch_size"] > num_train:
        raise UserError(
            f"batch_size={config['batch_size']} exceeds the {num_train} training images and drop_last=true: "
            "there would be no batch; lower batch_size or set drop_last=false"
        )


def check_ignored_overrides(config: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Refuse an override that the chosen `assim` would ignore; `view=` itself only gets a notice.

    Args:
        config: the resolved configuration.
        keys: the keys of the command line's overrides.

    Returns:
        Notices to print.

    Raises:
        UserError: an ignored override.
    """
    assim, notices = config["assim"]["name"], []
    ignored: list[str] = []
    if not uses_view(config):
        if "view" in keys:
            notices.append(f"assim={assim} contrasts two expert views: view={config['view']['name']} is not used")
        ignored += [key for key in keys if key.startswith("view.")]
        ignored += [key for key in keys if key in ("loss.alpha", "loss.align_anchors")]
    elif config["assim"].get("view3") is None or config["loss"]["name"] == "full":
        ignored += [key for key in keys if key in ("loss.alpha", "loss.align_anchors")]
    if config["assim"].get("view3") is None:
        ignored += [key for key in keys if key == "view.n_sampled"]
    if uses_view(config) and config["view"]["name"] == "viewmaker":  # it has view.transform of its own
        ignored += [key for key in keys if key == "assim.generated_transform"]
    if uses_view(config) and config["view"].get("cached") is False:
        of_caches = ("view.n_cached", "view.n_used", "view.seed", "view.batch", "view.draws", "view.draw_batch")
        ignored += [key for key in keys if key in of_caches]
    elif config["view"].get("draws") == "independent":
        ignored += [key for key in keys if key == "view.draw_batch"]
    sampled = data_is_sampled(config)
    if not needs_generator(config) or sampled:
        ignored += [key for key in keys if key.split(".")[0] == "inversion"]
    if not needs_generator(config) and not sampled:
        ignored += [key for key in keys if key.split(".")[0] == "generator"]
    else:
        ignored += _ignored_by_the_generator(config["generator"], keys)
        ignored += _ignored_beside_own_files(config, keys)
    if ignored:
        why = (
            f"view={config['view']['name']}, loss={config['loss']['name']}"
            if uses_view(config)
            else "two expert views, nothing generated"
        )
        if sampled:
            why += ", images whose latents are known"
        raise UserError(f"{', '.join(ignored)} would be ignored: this run (assim={assim}, {why}) does not use it")
    check_used(config, keys)
    for key in keys:
        if key.startswith(OWN_SETTINGS):
            try:
                check_ignored_overrides(reference_run(config), [key.removeprefix(OWN_SETTINGS)])
            except UserError as error:
                raise UserError(f"{OWN_SETTINGS}{error}") from error
    return notices + accumulation_notice(config)


def _ignored_by_the_generator(generator: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Settings of an augmentation or a measurement that is off."""
    off: set[str] = set()
    if generator["name"] != "stylegan2":
        return []
    if generator.get("augment") != "leak":
        off.add("generator.augment_probability")
    if generator.get("frechet", "none") == "none":
        off |= {"generator.frechet_every", "generator.frechet_images"}
    if generator.get("frechet") != "encoder":
        off.add("generator.frechet_encoder")
    return [key for key in keys if key in off]


def _ignored_beside_own_files(config: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Settings of a training that does not take place because the user brings its result."""
    ignored: list[str] = []
    if config["generator"]["name"] == "stylegan2" and config["generator"].get("checkpoint") is not None:
        used = {"generator.checkpoint", "generator.truncation"}
        ignored += [key for key in keys if key.startswith("generator.") and key not in used]
    if data_is_sampled(config):
        return ignored  # it uses no inversion at all
    if config["inversion"].get("latents") is not None:
        ignored += [key for key in keys if key.startswith("inversion.") and key != "inversion.latents"]
    elif config["inversion"].get("checkpoint") is not None:
        used = {"inversion.checkpoint", "inversion.perceptual", "inversion.perceptual_norm"}
        training = [key for key in keys if key.startswith("inversion.") and key not in used]
        ignored += [key for key in training if not key.startswith("inversion.optimization")]
    return ignored
