"""The views that an analysis looks at: found under the keys that rows use, or made for it alone.

A figure that shows a few images needs no cache of all of them: what a cache would hold of an image depends on the seed
and the image only, so those few are made, unless the cache is there already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from assimilate.analysis.colours import COLOURS, NAMED
from assimilate.artifacts.artifact import Artifact
from assimilate.errors import UserError
from assimilate.graph.step import Step
from assimilate.graph.wiring import find_class
from assimilate.jobs.plan import Need, Planned, announce, likely_speed, unfold
from assimilate.jobs.session import Session
from assimilate.run.analysis_checks import TUNED
from assimilate.run.composing import compose, table_groups, targets_of
from assimilate.run.config import make_job
from assimilate.run.job import Job
from assimilate.views.step import View


@dataclass(frozen=True)
class Kind:
    """One kind of view.

    Attributes:
        word: as `analysis.views` names it.
        shown: how a figure comes by it (`View.shown`).
        label: for people.
        heading: the same over a column of pictures.
        colour: in figures.
        session: with the chain that makes it; None for views of the image alone.
    """

    word: str
    shown: str
    label: str
    heading: str
    colour: str
    session: Session | None

    @property
    def has_cache(self) -> bool:
        """Whether its views of all images can be kept."""
        return self.shown in ("cached", "latents")

    @property
    def cache(self) -> Artifact:
        """The cache of these views of all images."""
        assert self.session is not None
        views = self.session.chain.views
        assert views is not None
        return views

    @property
    def generator(self) -> Step:
        """g of a kind of view that has one."""
        assert self.maker.chain.generator is not None
        return self.maker.chain.generator.step

    @property
    def latents(self) -> Step:
        """The latents of the images, of a kind of view that has some."""
        assert self.maker.chain.latents is not None
        return self.maker.chain.latents.step

    @property
    def num_used(self) -> int:
        """How many views of an image the cache serves, the first ones (view.n_used)."""
        return int(self.cache.step.num_used)

    @property
    def labels_of_cache(self) -> list[str]:
        """The cache, and how many views of it where that is not all: what numbers of these views are made from."""
        step = self.cache.step
        used = step.num_used < step.num_views
        return [self.cache.label, *([f"first {step.num_used} of {self.cache.label}"] if used else [])]

    @property
    def maker(self) -> Session:
        """The session whose chain makes it."""
        assert self.session is not None
        return self.session


def kinds_of(session: Session, words: Sequence[str]) -> list[Kind]:
    """The kinds of views that `words` name, those of a cache each with a chain of its own."""
    targets = targets_of("view")
    classes = [find_class("view._target_", targets[word.split()[0]], View) for word in words]
    kinds: list[Kind] = []
    spare = [colour for colour in COLOURS if colour not in {NAMED[cls.ink] for cls in classes}]
    taken: set[str] = set()
    for word, cls in zip(words, classes, strict=True):
        name, *own = word.split()
        colour = NAMED[cls.ink]
        if colour in taken and spare:
            colour = spare.pop(0)
        taken.add(colour)
        label = ", ".join([cls.title or name, *(setting.removeprefix("view.") for setting in own)])
        maker = _session_of(session.job, name, own) if cls.shown in TUNED else None
        heading = label if own else cls.heading or label
        kinds.append(Kind(word, str(cls.shown), label, heading, colour, maker))
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
    node: Any = compose([f"view={view}"])["view"]
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
    if not kind.has_cache:
        return [artifact for artifact in (chain.generator, chain.latents) if artifact is not None]
    builds_few = kind.session.prepare in ("auto", "plan") and not kind.cache.step.made_together
    if whole or store.has(kind.cache) or not builds_few:
        return [kind.cache]
    return list(kind.cache.parents.values())


def made_alone(session: Session, few: Sequence[Kind], num_images: int | None) -> list[Planned]:
    """The views that are made for a figure alone, without a cache, and what that takes.

    Args:
        session: of the job.
        few: their kinds.
        num_images: of how many images; None: all.
    """
    planned = []
    for kind in few:
        count = min(num_images or kind.maker.num_train, kind.maker.num_train)
        cost = kind.maker.cost_of(kind.cache, likely_speed(session), count)
        label = f"{kind.label} views of {count} images, for this figure alone"
        planned.append(Planned(label, label, "kept in no cache", seconds=cost.seconds))
    return planned


def ensure(session: Session, needs: Sequence[Need]) -> bool:
    """Find or build what an analysis needs, and say what that takes.

    Returns:
        Whether to go on: not under prepare=only.
    """
    announce(session, unfold(needs))
    for owner, artifact in needs:
        owner.ensure(artifact)
    if session.prepare == "only":
        session.say("prepare=only: upstream is complete, nothing was measured")
        return False
    return True


def check_pairs_fit(session: Session) -> None:
    """Refuse a batch of MINE that the images cannot fill, before anything long is built.

    Raises:
        UserError: the batch is larger.
    """
    batch_size, count = session.config["analysis"]["mine"]["batch_size"], session.num_train
    if batch_size > count:
        raise UserError(
            f"analysis.mine.batch_size={batch_size} exceeds the {count} training images: there would be no batch; "
            f"give analysis.mine.batch_size={count} or less"
        )
