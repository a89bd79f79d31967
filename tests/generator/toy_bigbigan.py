"""Narrow BigBiGANs with statistics, gains and an attention that matter, unlike a fresh network's."""

import torch

from assimilate.generator.bigbigan import BigBiGAN, BigBiGANArchitecture

TOY = BigBiGANArchitecture(widths=(16, 8, 8), chunk_dim=5, shared_dim=6, num_classes=3, attention_block=0)  # 16²


def toy_bigbigan(architecture: BigBiGANArchitecture = TOY, *, seed: int = 0) -> BigBiGAN:
    """Always the same network; every number of its state dict differs from its neutral value."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BigBiGAN(architecture)
        with torch.no_grad():
            for key, value in network.state_dict().items():
                if key.endswith(("stored_var", "layer.0.gain")):
                    value.copy_(0.5 + torch.rand_like(value))
                elif key.endswith(("stored_mean", "bias")):
                    value.copy_(0.3 * torch.randn_like(value))
                elif key.endswith("gamma"):
                    value.fill_(0.7)
    return network.eval()
