"""What the perceptual term of Eq. 5 compares: the network whose feature maps they are."""

from abc import abstractmethod
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from assimilate.graph.settings import Part

if TYPE_CHECKING:  # settings are declared without torch
    from assimilate.encoder.encoder import Encoder
    from assimilate.generator.discriminator import Discriminator
    from assimilate.inversion.perceptual import FeatureExtractor


class Perceptual(Part):
    """The network whose feature maps of an image and its reconstruction are compared."""

    role: ClassVar[str] = "perceptual"
    # Side of the smallest images that it can look at.
    smallest: ClassVar[int] = 1
    needs_discriminator: ClassVar[bool] = False
    # Whether it looks through f.
    needs_encoder: ClassVar[bool] = False
    # Whether there are any maps.
    compares: ClassVar[bool] = True

    @abstractmethod
    def features(self, discriminator: "Discriminator | None", reference: "Encoder | None") -> "FeatureExtractor":
        """Images in [−1, 1] to feature maps; a module is moved to the job's device.

        Args:
            discriminator: the generator's, where `needs_discriminator`.
            reference: f, where `needs_encoder`.

        Raises:
            ValueError: it cannot be had.
        """

    def foresee(self) -> None:
        """See that it can be had, before anything long is built.

        Raises:
            ValueError: it cannot.
        """

    @property
    def _networks(self) -> ModuleType:
        from assimilate.inversion import perceptual  # and with it torch

        return perceptual


class VGG19(Perceptual, word="vgg19"):
    """The paper's; its weights are downloaded. It halves images four times."""

    smallest: ClassVar[int] = 16

    def features(self, discriminator: "Discriminator | None", reference: "Encoder | None") -> "FeatureExtractor":
        return self._networks.Vgg19Features()

    def foresee(self) -> None:
        self._networks.Vgg19Features()


class OfDiscriminator(Perceptual, word="discriminator"):
    """The GAN's own, which needs no download."""

    needs_discriminator: ClassVar[bool] = True

    def features(self, discriminator: "Discriminator | None", reference: "Encoder | None") -> "FeatureExtractor":
        assert discriminator is not None, "the step sees to it"
        return self._networks.DiscriminatorFeatures(discriminator)


class OfEncoder(Perceptual, word="encoder"):
    """f."""

    needs_encoder: ClassVar[bool] = True

    def features(self, discriminator: "Discriminator | None", reference: "Encoder | None") -> "FeatureExtractor":
        assert reference is not None, "the step has it"
        return self._networks.ResNetFeatures(reference.backbone, reference.mean, reference.std)


class NoMaps(Perceptual, word="none"):
    """Nothing is compared."""

    compares: ClassVar[bool] = False

    def features(self, discriminator: "Discriminator | None", reference: "Encoder | None") -> "FeatureExtractor":
        return self._networks.no_features
