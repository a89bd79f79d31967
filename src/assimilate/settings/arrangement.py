"""Whether the views that `assim` arranges fit together, said before anything is built."""

from collections.abc import Mapping
from typing import Any

from assimilate.errors import UserError
from assimilate.settings.identity import uses_view

# These show whole images: they cannot make a view larger than what is stored.
WHOLE = ("flip", "none")


def check_arrangement(config: Mapping[str, Any]) -> None:
    """Refuse an `assim` that would silently be another one, and views of different sizes.

    Raises:
        UserError: a2 without a third view, simclr or a1 with one, a1 without a generated view, or an uncropped view
            beside crops that are larger than the images.
    """
    assim = config["assim"]
    name, appended = assim["name"], assim.get("view3")
    if name == "a2" and appended is None:
        raise UserError("assim.view3=null cannot be used with assim=a2, which aligns a third view: take assim=simclr")
    if name in ("simclr", "a1") and appended is not None:
        raise UserError(f"assim.view3={appended} cannot be used with assim={name}, which has two views: take assim=a2")
    if name == "a1" and not uses_view(config):
        raise UserError(
            f"assim.view1={assim['view1']} and assim.view2={assim['view2']} leave assim=a1 without a generated view: "
            "give one of them as generated, or take assim=simclr"
        )
    crop_size, image_size = config["data"]["crop_size"], config["dataset"]["image_size"]
    transforms = {f"assim.view{place}": assim.get(f"view{place}") for place in (1, 2, 3)}
    if uses_view(config) and config["view"]["name"] == "viewmaker":
        transforms["view.transform"] = config["view"]["transform"]
    elif uses_view(config) and config["view"]["name"] != "expert":  # those are stored as large as the crops
        transforms["assim.generated_transform"] = assim["generated_transform"]
    for key, transform in transforms.items():
        if transform in WHOLE and crop_size is not None and crop_size > image_size:
            raise UserError(
                f"{key}={transform} shows images of {image_size}² beside crops of data.crop_size={crop_size}: "
                f"give data.crop_size={image_size} or less, or a transform that crops"
            )
