"""A generator of the user's own: generator._target_=my.module.MyGenerator, further generator keys being its arguments.

The target is a class or a function that returns a `LatentGenerator` (assimilate.generator.protocol), on the CPU; where
it has a method `to(device)`, that is called. It is imported as Python imports anything: from the working directory
under `python -m`, from PYTHONPATH, or installed.
"""

from collections.abc import Mapping
from typing import Any

import torch

from assimilate.errors import UserError
from assimilate.generator.protocol import LatentGenerator, check_generator
from assimilate.generator.target import call_failed, find_target
from assimilate.graph.called import in_one_line


def make_own_generator(target: str, arguments: Mapping[str, Any], *, image_size: int, device: str) -> LatentGenerator:
    """Call the target, freeze what it returns, and see that it does what a generator has to do.

    Args:
        target: `generator._target_`.
        arguments: what it is called with.
        image_size: of the data set.
        device: where to put it.

    Raises:
        UserError: the target cannot be imported or called, or what it returns is no generator of such images.
    """
    key = f"generator._target_={target}"
    call = find_target(target, arguments)
    # Whatever it draws must not move the run's random state; other GPUs than the run's are not touched for it.
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.device(device).type == "cuda" else []):
        try:
            generator: Any = call(**arguments)
            if isinstance(generator, torch.nn.Module):
                generator.eval().requires_grad_(False)
            if hasattr(generator, "to"):
                generator = generator.to(device)
        except Exception as error:  # it is the user's code: it may raise anything
            raise call_failed(target, arguments, error) from error
        try:
            check_generator(generator, image_size=image_size)
        except ValueError as error:
            raise UserError(f"{key}: {error} (see assimilate.generator.protocol.LatentGenerator)") from error
        except Exception as error:
            raise UserError(f"{key}: two images could not be made with it: {in_one_line(error)}") from error
        if (place := generator.latent_mean.device.type) != torch.device(device).type:
            raise UserError(
                f"{key}: its tensors are on {place}, but this run is on {device}: give it a method to(device) that "
                "moves them and returns it (a torch.nn.Module has one), or take trainer=cpu"
            )
    return generator
