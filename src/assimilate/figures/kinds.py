"""The kinds of figures that ship."""

import json
from operator import attrgetter
from types import ModuleType
from typing import ClassVar

from assimilate.errors import UserError
from assimilate.figures.figure import Figure, f_of, of_runs, of_views
from assimilate.figures.found_runs import find_runs
from assimilate.figures.inputs import check_pairs_fit, kinds_of
from assimilate.figures.record import Analysis
from assimilate.graph.identity import content_hash
from assimilate.jobs.session import Session
from assimilate.run.analysis_checks import view_words
from assimilate.run.analysis_settings import Analysis as Kind


def drawing() -> ModuleType:
    """What draws; loaded when something is drawn."""
    from assimilate.figures import drawing as module  # and with it torch and matplotlib

    return module


class Drawn(Kind):
    """A figure that a function of `drawing` draws."""

    # The function, by its dotted name there.
    drawn_by: ClassVar[str]

    @classmethod
    def draw(cls, figure: Figure) -> str:
        """Call it."""
        return str(attrgetter(cls.drawn_by)(drawing())(figure))


class Pairs(Drawn):
    """Mutual information and inner products of every pair of Table 1."""

    drawn_by: ClassVar[str] = "pairs.add_pairs"
    looks_at: ClassVar[tuple[str, ...]] = ("cached", "latents")
    of_others: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def plan(cls, session: Session) -> Figure:
        """All caches, and f.

        Raises:
            UserError: MINE's batch exceeds the images.
        """
        check_pairs_fit(session)
        kinds = kinds_of(session, view_words(session.config))
        f = f_of(session)
        content = [f[1].label, *(label for kind in kinds for label in kind.labels_of_cache)]
        content.append(f"expert={json.dumps(session.config['data']['expert'])}")
        analysis = Analysis(session.job, "Mutual information and inner products of pairs of views", content)
        return Figure(session, analysis, [f, *((kind.maker, kind.cache) for kind in kinds)], kinds)


class OfViews(Drawn):
    """A figure of views."""

    title: ClassVar[str]
    # Whether it looks at them through f.
    sees: ClassVar[bool] = True

    @classmethod
    def plan(cls, session: Session) -> Figure:
        """What the views are made from."""
        return of_views(session, cls.title, sees=cls.sees)


class Distances(OfViews):
    """How far views lie from their anchors as f sees it (Figure 2a)."""

    drawn_by: ClassVar[str] = "views.add_distances"
    title: ClassVar[str] = "Distances of views to their anchors"
    looks_at: ClassVar[tuple[str, ...]] = ("cached", "latents", "inverted", "drawn", "network")


class Offsets(OfViews):
    """Offsets of views from their anchors in W and in Z (Figure 2b)."""

    drawn_by: ClassVar[str] = "views.add_offsets"
    title: ClassVar[str] = "Offsets of views from their anchors in W and in Z"
    looks_at: ClassVar[tuple[str, ...]] = ("latents",)


class Grid(OfViews):
    """Images and views of them side by side (Figures 3, 8, 9 and 10)."""

    drawn_by: ClassVar[str] = "views.add_grid"
    title: ClassVar[str] = "Images and views of them"
    sees: ClassVar[bool] = False
    looks_at: ClassVar[tuple[str, ...]] = ("image", "inverted", "drawn", "cached", "latents", "network")
    most_pictures: ClassVar[int | None] = 400


class ViewCard(OfViews):
    """What views are worth, beside expert views and real images."""

    drawn_by: ClassVar[str] = "card.add_card"
    title: ClassVar[str] = "View card"
    looks_at: ClassVar[tuple[str, ...]] = ("cached", "latents", "inverted", "drawn", "network")


class Curves(Drawn):
    """5-NN accuracy of finished runs while they trained."""

    drawn_by: ClassVar[str] = "runs.add_curves"

    @classmethod
    def plan(cls, session: Session) -> Figure:
        """The runs.

        Raises:
            UserError: a run that is not there, or that has no curve.
        """
        settings = session.config["analysis"]
        runs = find_runs(session.job, settings["runs"], settings["labels"])
        without = [str(run.folder) for members in runs.values() for run in members if not run.result["knn_curve"]]
        if not settings["runs"]:  # of every run, those that have one
            runs = {label: [run for run in members if run.result["knn_curve"]] for label, members in runs.items()}
            runs = {label: members for label, members in runs.items() if members}
        if without and (settings["runs"] or not runs):
            raise UserError(
                f"analysis.runs: no curve was recorded by {'; '.join(without)}: a run has one with labels, test images "
                "and knn.every_n_epochs above 0"
            )
        content = [
            f"{label}:{run.folder.name}:{content_hash(run.result['knn_curve'])}"
            for label, members in runs.items()
            for run in members
        ]
        return Figure(session, of_runs(session, "5-NN accuracy while training", runs, content), [], runs=runs)


class OfEncoders(Drawn):
    """A figure of the encoders of finished runs."""

    title: ClassVar[str]
    # Settings that one figure holds, of each of which it shows one seed; None: all, and all seeds.
    most_panels: ClassVar[int | None] = None

    @classmethod
    def plan(cls, session: Session) -> Figure:
        """The runs and their encoders.

        Raises:
            UserError: a run, or its encoder, that is not there; too many runs.
        """
        settings = session.config["analysis"]
        runs = find_runs(session.job, settings["runs"], settings["labels"])
        if cls.most_panels is not None:
            if len(runs) > cls.most_panels:
                raise UserError(
                    f"analysis.runs: {len(runs)} settings are too many for one figure: name at most {cls.most_panels} "
                    f"of {', '.join(str(members[0].setting) for members in runs.values())}"
                )
            runs = {label: members[:1] for label, members in runs.items()}
        content = [f"{run.folder.name}:{run.encoder().name}" for members in runs.values() for run in members]
        analysis = of_runs(session, cls.title, runs, content)
        return Figure(session, analysis, [(session, session.data)], runs=runs)


class AlignmentUniformity(OfEncoders):
    """Alignment and uniformity of the encoders of finished runs (Wang & Isola, 2020)."""

    drawn_by: ClassVar[str] = "runs.add_alignment_uniformity"
    title: ClassVar[str] = "Alignment and uniformity"


class Features(OfEncoders):
    """Features of the encoders of finished runs, coloured by class."""

    drawn_by: ClassVar[str] = "runs.add_features"
    title: ClassVar[str] = "Features by class"
    most_panels: ClassVar[int | None] = 6
