import numpy as np
import pytest
import torch

from assimilate.data.images import ImageArrays
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.probes.features import assert_frozen, evaluating, extract_features, freeze, staying_frozen

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def arrays(count: int = 10) -> ImageArrays:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)
    return ImageArrays(images, None)


def tiny_encoder() -> Encoder:
    encoder = Encoder.from_spec(EncoderSpec(width=2, hidden_dim=4, output_dim=4))
    for _ in range(3):
        encoder(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return encoder


def test_features_are_those_of_the_normalised_images_one_by_one() -> None:
    encoder, images = freeze(tiny_encoder()), arrays()
    features = extract_features(encoder, images, mean=MEAN, std=STD, batch_size=4)
    for index, image in enumerate(images.images):
        x = (torch.tensor(image / 255, dtype=torch.float32) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
            :, None, None
        ]
        torch.testing.assert_close(features[index], encoder.backbone(x[None])[0], rtol=1e-4, atol=1e-5)
    assert features.shape == (10, encoder.feature_dim)
    assert not features.requires_grad


def test_train_mode_is_refused() -> None:
    encoder = tiny_encoder()
    with pytest.raises(ValueError, match="train mode"):
        extract_features(encoder, arrays(), mean=MEAN, std=STD)
    encoder.eval().backbone.layer3[0].bn1.train()
    with pytest.raises(ValueError, match=r"train mode \(backbone.layer3.0.bn1"):
        extract_features(encoder, arrays(), mean=MEAN, std=STD)


def test_assert_frozen() -> None:
    encoder = tiny_encoder().eval()
    with pytest.raises(ValueError, match="take gradients"):
        assert_frozen(encoder)
    assert_frozen(freeze(encoder))


def test_evaluating_restores_every_mode() -> None:
    encoder = tiny_encoder()
    encoder.backbone.layer1.eval()
    with evaluating(encoder):
        assert not any(part.training for part in encoder.modules())
    assert encoder.training
    assert encoder.backbone.layer2[0].training
    assert not encoder.backbone.layer1[0].bn1.training


def test_staying_frozen_sees_statistics_that_move() -> None:
    encoder = freeze(tiny_encoder())
    with staying_frozen(encoder):
        extract_features(encoder, arrays(), mean=MEAN, std=STD)

    def moves() -> None:
        with staying_frozen(encoder):
            encoder.train()(torch.randn(4, 3, 8, 8))
            encoder.eval()

    with pytest.raises(ValueError, match=r"buffers of a frozen encoder changed.*backbone\.bn1\.running_mean"):
        moves()
    with pytest.raises(ValueError, match="train mode"), staying_frozen(encoder.train()):
        pass
