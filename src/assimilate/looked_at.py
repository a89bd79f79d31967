"""The views that an analysis looks at: found under the keys that rows use, or made for it alone.

A figure that shows a few images needs no cache of all of them: what a cache would hold of an image depends on the seed
and the image only (DESIGN §5), so those few are made, unless the cache is there already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.analysis.canvas import BLUE, COLOURS, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from assimilate.analysis_checks import CACHED, DRAWN, ORIGINAL, RECONSTRUCTION, VIEWMAKER, WITH_LATENTS
from assimilate.artifacts import Artifact
from assimilate.config import CONF, Job, compose, make_job, table_groups
from assimilate.errors import UserError
from assimilate.estimates import estimate
from assimilate.identity import views_used
from assimilate.session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from assimilate.generator.protocol import LatentGenerator
    from assimilate.views.embedding import FrozenEmbedding

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]
    Indices = np.ndarray[Any, np.dtype[np.int64]]

NAMES = {
    ORIGINAL: "original",
    RECONSTRUCTION: "reconstruction",
    "expert": "expert",
    "basic": "basic",
    "crop50": "crop .5",
    "crop70": "crop .7",
    "crop90": "crop .9",
    "wsearch": "W-search",
    "wperturb": "W-perturb",
    "wmix": "W-mix",
    "external": "external",
    VIEWMAKER: "Viewmaker",
}
# A kind of view has one colour in every figure.
INKS = {"wsearch": BLUE, "wperturb": VERMILION, "expert": GREEN, "wmix": PURPLE, VIEWMAKER: ORANGE, "external": SKY}
BATCH = 256


@dataclass(frozen=True)
class Kind:
    """One kind of view.

    Attributes:
        word: as `analysis.views` names it.
        name: of the view, without settings of its own.
        label: for people.
        colour: in figures.
        session: with the chain that makes it; None for views of the image alone.
    """

    word: str
    name: str
    label: str
    colour: str
    session: Session | None

    @property
    def cache(self) -> Artifact:
        """The cache of these views of all images."""
        assert self.session is not None
        views = self.session.chain.views
        assert views is not None
        return views

    @property
    def num_used(self) -> int:
        """How many views of an image the cache serves, the first ones (view.n_used)."""
        return views_used(self.maker.config) or int(self.cache.content["n_cached"])

    @property
    def maker(self) -> Session:
        """The session whose chain makes it."""
        assert self.session is not None
        return self.session


def kinds_of(session: Session, words: Sequence[str]) -> list[Kind]:
    """The kinds of views that `words` name, those of a cache each with a chain of its own."""
    kinds: list[Kind] = []
    spare = [colour for colour in COLOURS if colour not in {INKS.get(word.split()[0]) for word in words}]
    taken: set[str] = set()
    for word in words:
        name, *own = word.split()
        colour = INKS.get(name, GREY)
        if colour in taken and spare:
            colour = spare.pop(0)
        taken.add(colour)
        chained = name in (*CACHED, RECONSTRUCTION)
        label = ", ".join([NAMES[name], *(setting.removeprefix("view.") for setting in own)])
        kinds.append(Kind(word, name, label, colour, _session_of(session.job, name, own) if chained else None))
    return kinds


def _session_of(job: Job, name: str, own: Sequence[str]) -> Session:
    """A session for another view of the same job, which builds what `make_views view=<name>` would build."""
    words = [word for word in (_fitting(job, name, override) for override in job.overrides) if word is not None]
    words += [f"view={name}", "assim=a2", *own]
    other = make_job("make_views", compose(words), words, strict=False)
    return Session(replace(other, notices=()))


def _fitting(job: Job, name: str, override: str) -> str | None:
    """An override as it holds for the view `name`; None if it does not concern it."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    if key in ("view", "force") or key.split(".")[0] in ("analysis", "assim"):
        return None
    if key in table_groups():  # a row's settings are its own view's
        return override if job.config["view"]["name"] == name else None
    if key.startswith("view."):
        return override.lstrip("+") if _has(name, key.removeprefix("view.")) else None
    return override


def _has(view: str, key: str) -> bool:
    node: Any = compose([f"view={view}"])["view"] if (CONF / "view" / f"{view}.yaml").is_file() else {}
    *parents, last = key.split(".")
    for part in parents:
        node = node.get(part) if hasattr(node, "keys") else None
    return hasattr(node, "keys") and last in list(node.keys())  # a value that is yet to be given is there too


# ------------------------------------------------------------------------------------------------ finding or building


def needs_of(kind: Kind, *, whole: bool) -> list[Artifact]:
    """What must be there before its views can be looked at.

    Args:
        kind: of views.
        whole: whether views of all images are asked for, and so their cache.
    """
    if kind.session is None:
        return []
    chain, store = kind.session.chain, kind.session.store
    if kind.name == RECONSTRUCTION:
        return [artifact for artifact in (chain.generator, chain.latents) if artifact is not None]
    builds_few = kind.session.prepare in ("auto", "plan") and not _made_together(kind.cache)
    if whole or store.has(kind.cache) or not builds_few:
        return [kind.cache]
    return list(kind.cache.parents.values())


def _made_together(cache: Artifact) -> bool:
    """Whether views of an image depend on the other images of the cache (stop=batch)."""
    return bool(cache.content.get("search", {}).get("stop") == "batch")


Need = tuple[Session, Artifact]


def unfold(needs: Sequence[Need]) -> list[Need]:
    """Everything that the artifacts are made of, parents first, each once."""
    found: dict[str, Need] = {}

    def visit(session: Session, artifact: Artifact) -> None:
        for parent in artifact.parents.values():
            visit(session, parent)
        found.setdefault(artifact.label, (session, artifact))

    for session, artifact in needs:
        visit(session, session.data)
        visit(session, artifact)
    return list(found.values())


def print_plan(
    session: Session, needs: Sequence[Need], target: Path, *, few: Sequence[Kind] = (), num_images: int = 0
) -> None:
    """What exists, what would be built at what cost, and where the result would be.

    Args:
        session: of the job.
        needs: what the analysis is made from.
        target: where its result would be.
        few: kinds of views that are made for it alone, without a cache.
        num_images: of how many images.
    """
    say = session.terminal.say
    say(f"plan for {session.job.command}")
    hours = disk = 0.0
    for owner, artifact in unfold(needs):
        if owner.store.has(artifact):
            say(f"  exists  {artifact.label}")
            continue
        cost = estimate(artifact, owner.config, images=owner.num_train, on_gpu=owner.gpu_is_likely())
        hours, disk = hours + cost.hours, disk + cost.megabytes
        say(f"  build   {artifact.label:<60} about {cost.text}   {owner.command_for(artifact)}")
    for kind in few:
        count = min(num_images, kind.maker.num_train)
        cost = estimate(kind.cache, kind.maker.config, images=count, on_gpu=session.gpu_is_likely())
        hours += cost.hours
        time = cost.text.split(",")[0]
        say(f"  make    {kind.label} views of {count} images, for this figure alone: about {time}")
    if hours or disk:
        say(f"  in all about {hours:.2f} h and {disk:,.0f} MB (rough estimates)")
    say(f"  result  {target}")


def ensure(session: Session, needs: Sequence[Need]) -> bool:
    """Find or build what an analysis needs, and say what that takes.

    Returns:
        Whether to go on: not under prepare=only.
    """
    missing = [need for need in unfold(needs) if not need[0].store.has(need[1])]
    if missing and session.prepare != "never":
        session.terminal.say(f"to build, on {session.device_name} (rough estimates):")
        for owner, artifact in missing:
            cost = estimate(artifact, owner.config, images=owner.num_train, on_gpu=session.device == "cuda")
            session.terminal.say(f"  {artifact.label:<60} about {cost.text}")
    for owner, artifact in needs:
        owner.ensure(artifact)
    if session.prepare == "only":
        session.terminal.say("prepare=only: upstream is complete, nothing was measured")
        return False
    return True


# ------------------------------------------------------------------------------------------------ pixels and embeddings


@dataclass(frozen=True)
class Gallery:
    """Views of some images of a session's training set.

    Attributes:
        session: of the job.
        indices: of the images, ascending.
        num_views: of each image, at most.
        seed: of what is drawn for the figure.
        viewmaker: folder of the run whose network makes the viewmaker views.
    """

    session: Session
    indices: "Indices"
    num_views: int
    seed: int
    viewmaker: Path | None = None

    @cached_property
    def originals(self) -> "Pixels":
        """The images, uint8 [M, 3, H, W]."""
        return np.asarray(self.session.dataset.train.images[self.indices])

    def pixels(self, kind: Kind) -> "Pixels":
        """Views of the images, uint8 [M, up to num_views, 3, H, W]."""
        if kind.name == ORIGINAL:
            return self.originals[:, None]
        if kind.name == RECONSTRUCTION:
            from assimilate.views.embedding import to_pixels

            pictures: Pixels = to_pixels(self.reconstruct(kind)).cpu().numpy()
            return pictures[:, None]
        if kind.name in DRAWN:
            return self._drawn(kind.name)
        if kind.name == VIEWMAKER:
            return self._perturbed()
        return self._cached(kind)

    def _cached(self, kind: Kind) -> "Pixels":
        from assimilate.make_views import repeatable_kernels
        from assimilate.view_makers import making_of
        from assimilate.views.cache import IMAGES

        session, count = kind.maker, min(self.num_views, kind.num_used)
        if session.store.has(kind.cache):
            stored = np.load(kind.cache.path / IMAGES, mmap_mode="r")
            return np.stack([np.asarray(stored[index, :count]) for index in self.indices])
        making = making_of(session, kind.cache)
        made: dict[int, Pixels] = {}
        with session.terminal.bar(f"{making.title} of {len(self.indices)} images") as progress, repeatable_kernels():
            making.fill(
                lambda index, views, **_: made.update({index: np.array(views[:count])}),
                self.indices.tolist(),
                progress,
            )
        return np.stack([made[index] for index in self.indices.tolist()])

    def _drawn(self, name: str) -> "Pixels":
        import torch

        from assimilate.data.seeding import generator as seeded
        from assimilate.train import make_transforms

        transform = make_transforms(self.session.config)(name)
        images = torch.from_numpy(self.originals)
        drawn = [transform(images, seeded(self.seed, f"{name} view", number)) for number in range(self.num_views)]
        result: Pixels = (torch.stack(drawn, dim=1) * 255).round().to(torch.uint8).numpy()
        return result

    def _perturbed(self) -> "Pixels":
        import torch

        from assimilate.assimilation.adversarial import load_viewmaker
        from assimilate.data.seeding import generator as seeded
        from assimilate.found_runs import find_viewmaker
        from assimilate.train import make_transforms

        assert self.viewmaker is not None
        path, transform = find_viewmaker(self.viewmaker, self.session.config["dataset"]["name"])
        network = load_viewmaker(path)
        prepare = make_transforms(self.session.config)(transform)
        images = torch.from_numpy(self.originals)
        made = []
        for number in range(self.num_views):
            rng = seeded(self.seed, "viewmaker view", number)
            with torch.no_grad():
                made.append(network(prepare(images, rng), rng))
        result: Pixels = (torch.stack(made, dim=1) * 255).round().to(torch.uint8).numpy()
        return result

    def generator_of(self, kind: Kind) -> "LatentGenerator":
        """g of a kind of view that has one."""
        from assimilate.train_generator import load_generator

        assert kind.maker.chain.generator is not None
        return load_generator(kind.maker, kind.maker.chain.generator)

    def codes(self, kind: Kind) -> "Tensor":
        """Inverted codes of the images, before truncation, [M, codes, dim], on the device."""
        import torch

        from assimilate.invert import load_latents

        assert kind.maker.chain.latents is not None
        chosen = np.array(load_latents(kind.maker.chain.latents)[self.indices])
        return torch.from_numpy(chosen).to(kind.maker.device)

    def reconstruct(self, kind: Kind) -> "Tensor":
        """g(w) of the images, clamped to [−1, 1], not rounded to pixels; [M, 3, H, W]."""
        import torch

        generator, codes = self.generator_of(kind), self.codes(kind)
        with torch.no_grad():
            return torch.cat([generator.synthesize(part).clamp(-1, 1) for part in codes.split(BATCH)])

    def anchors(self, kind: Kind, *, own: bool) -> "Tensor":
        """What the views are compared with, in [−1, 1]: what they were made from if `own`, or else the image."""
        import torch

        from assimilate.views.embedding import from_pixels

        if own and kind.name in WITH_LATENTS and kind.cache.content.get("anchor") != "original":
            return self.reconstruct(kind)
        return from_pixels(torch.from_numpy(self.originals))


def load_f(session: Session) -> "FrozenEmbedding":
    """The encoder f of the job, which sees all views of an analysis."""
    from assimilate.train import load_reference

    assert session.chain.reference is not None
    return load_reference(session, session.chain.reference)


def embed(session: Session, embedding: "FrozenEmbedding", images: "Tensor") -> "Tensor":
    """f of images [..., 3, H, W], uint8 or in [−1, 1], a batch at a time; on the CPU, float32 [..., dim]."""
    import torch

    from assimilate.views.embedding import from_pixels

    flat = images.flatten(0, -4)
    parts = []
    with torch.no_grad():
        for part in flat.split(BATCH):
            part = part.to(session.device)
            parts.append(embedding(from_pixels(part) if part.dtype == torch.uint8 else part).cpu())
    return torch.cat(parts).unflatten(0, images.shape[:-3])


def choose_images(session: Session, wanted: int | None, seed: int) -> "Indices":
    """Indices of training images at random, ascending; all of them if `wanted` is None or too many."""
    count = len(session.dataset.train)
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 1]).choice(count, wanted, replace=False))


def check_pairs_fit(session: Session) -> None:
    """Refuse a batch of MINE that the images cannot fill, before anything long is built.

    Raises:
        UserError: so.
    """
    batch_size, count = session.config["analysis"]["mine"]["batch_size"], session.num_train
    if batch_size > count:
        raise UserError(
            f"analysis.mine.batch_size={batch_size} exceeds the {count} training images: there would be no batch; "
            f"give analysis.mine.batch_size={count} or less"
        )
