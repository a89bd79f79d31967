"""MoCo v2 (He et al., 2020; Chen et al., 2020) and its alignment with appended views: a queue of negatives."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from assimilate.assimilation.alignment import Alignment, LossTerms
from assimilate.assimilation.gathering import gather_with_gradient
from assimilate.assimilation.losses import unit_vectors
from assimilate.assimilation.method import Embedding, Images, Method, copy_to_follow, follow
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.data.seed import derive_seed
from assimilate.encoder.encoder import Encoder


class MoCo(Method):
    """View 0 is the query, view 1 its key by a slowly following encoder; keys of earlier batches are the negatives.

    With q, k and z_j the unit vectors of query, key and the query encoder's projections of appended views:

        total = mean −log[e^(q·k/τ) / (e^(q·k/τ) + Σ over the queue of e^(q·n/τ))] − α/τ · mean of a·z_j

    The first term is Eq. 1 of MoCo's paper. The last is Eq. 4's, its mean over the batch, the appended views j and the
    anchors a: q (view 0) and k (view 1, to which no gradient flows). An appended view is never a negative.

    MoCo shuffles the batch across devices, so that BatchNorm does not tell which key is the query's. Here its
    statistics are those of the global batch, on any number of devices.

    Args:
        encoder: the query encoder; it starts the key encoder.
        alignment: α and the anchors.
        temperature: τ > 0.
        momentum: of the key encoder, in [0, 1].
        queue_size: number of negatives. A batch replaces the oldest ones.
        seed: of the queue, which starts as random directions.
    """

    queue: Tensor
    oldest: Tensor

    def __init__(
        self,
        encoder: Encoder,
        alignment: Alignment | None = None,
        *,
        temperature: float,
        momentum: float,
        queue_size: int,
        seed: int,
    ) -> None:
        super().__init__(alignment)
        self.temperature, self.momentum = temperature, momentum
        self.key_encoder = copy_to_follow(encoder)
        rng = torch.Generator().manual_seed(derive_seed(seed, "MoCo's queue"))
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, encoder.output_dim, generator=rng), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        self._keys: Tensor | None = None

    def forward(self, encoder: Encoder, views: Sequence[Images], passes: ViewPasses) -> LossTerms:
        """The loss of a step's views. Their keys enter the queue after the gradients are taken."""
        places = [0, *range(2, len(views))]
        projections = passes.project(encoder, [views[place] for place in places], places)
        with torch.no_grad():
            (key,) = passes.project(self.key_encoder, [views[1]], [1])
        return self.of_projections(projections[0], key, projections[1:])

    def of_projections(self, query: Embedding, key: Embedding, appended: Sequence[Embedding] = ()) -> LossTerms:
        """The loss of projections, not normalised; the keys are kept for the queue."""
        with torch.autocast(query.device.type, enabled=False):
            q, k = unit_vectors(query), unit_vectors(key.detach())
            self._keys = k
            positive = (q * k).sum(1, keepdim=True)
            logits = torch.cat([positive, q @ self.queue.to(q.dtype).T], dim=1) / self.temperature
            base = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))
            if not appended:
                return LossTerms(base, base, None)
            anchor = torch.stack([(q, k)[place] for place in self.alignment.align_anchors]).mean(0)
            generated = torch.stack([unit_vectors(view) for view in appended]).mean(0)
            aligned = self.alignment.alpha / self.temperature * (anchor * generated).sum(1).mean()
            return LossTerms(base - aligned, base, aligned)

    @torch.no_grad()
    def after_backward(self) -> None:
        """All ranks' keys of the batch take the places of the oldest ones in the queue."""
        assert self._keys is not None
        keys = gather_with_gradient(self._keys)[-len(self.queue) :]
        places = (self.oldest + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys.to(self.queue.dtype)
        self.oldest.copy_((self.oldest + len(keys)) % len(self.queue))
        self._keys = None

    def after_step(self, encoder: Encoder, *, progress: float) -> None:
        """The key encoder follows."""
        follow(self.key_encoder, encoder, momentum=self.momentum)
