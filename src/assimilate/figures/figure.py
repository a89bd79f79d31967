"""A figure from what is asked for to what has to be there before it is drawn; nothing here needs torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assimilate.errors import UserError
from assimilate.figures.found_runs import FoundRun, find_runs, find_viewmaker
from assimilate.figures.inputs import Kind, check_pairs_fit, ensure, kinds_of, made_alone, needs_of
from assimilate.figures.record import Analysis
from assimilate.graph.identity import content_hash
from assimilate.jobs.plan import Need, print_plan, unfold
from assimilate.jobs.runs import check_run_folder, check_same_content
from assimilate.jobs.session import Session
from assimilate.pages.result_file import METRICS
from assimilate.run.analysis_checks import view_words
from assimilate.run.measuring import measures_generated


@dataclass(frozen=True)
class Figure:
    """One analysis that ends in a picture.

    Attributes:
        session: of the job.
        analysis: where it is recorded.
        needs: what must be there before it can be drawn.
        kinds: of views that it shows.
        few: those of them that are made for it alone, without a cache.
        runs: finished runs that it shows, by label.
    """

    session: Session
    analysis: Analysis
    needs: Sequence[Need]
    kinds: Sequence[Kind] = ()
    few: Sequence[Kind] = ()
    runs: Mapping[str, list[FoundRun]] = field(default_factory=dict)

    def is_ready(self) -> bool:
        """Find or build what it needs; whether there is anything to draw then.

        Raises:
            UserError: something may not be built.
        """
        session, folder = self.session, self.analysis.folder
        if session.prepare == "plan":
            wanted = session.config["analysis"].get("num_images")
            print_plan(session, self.needs, folder, made_alone(session, self.few, wanted))
            return False
        session.say(f"analysis: {folder}")
        if self.analysis.is_finished():
            session.say("nothing to do: it is there; force=true makes it again")
            return False
        if not ensure(session, self.needs):
            return False
        # What ensure has built may not be what the plan was made with.
        assert all(owner.store.has(part) for owner, part in unfold(self.needs))
        return True


def plan_pairs(session: Session) -> Figure:
    """Mutual information and inner products of every pair of Table 1.

    Raises:
        UserError: MINE's batch exceeds the images.
    """
    check_pairs_fit(session)
    kinds = kinds_of(session, view_words(session.config))
    f = _f(session)
    content = [f[1].label, *(label for kind in kinds for label in kind.labels_of_cache)]
    content.append(f"expert={json.dumps(session.config['data']['expert'])}")
    analysis = Analysis(session.job, "Mutual information and inner products of pairs of views", content)
    return Figure(session, analysis, [f, *((kind.maker, kind.cache) for kind in kinds)], kinds)


def plan_distances(session: Session) -> Figure:
    """How far views lie from their anchors as f sees it (Figure 2a)."""
    return _of_views(session, "Distances of views to their anchors", sees=True)


def plan_offsets(session: Session) -> Figure:
    """Offsets of views from their anchors in W and in Z (Figure 2b)."""
    return _of_views(session, "Offsets of views from their anchors in W and in Z", sees=True)


def plan_grid(session: Session) -> Figure:
    """Images and views of them side by side (Figures 3, 8, 9 and 10)."""
    return _of_views(session, "Images and views of them", sees=False)


def plan_card(session: Session) -> Figure:
    """What views are worth, beside expert views and real images."""
    return _of_views(session, "View card", sees=True)


def plan_curves(session: Session) -> Figure:
    """5-NN accuracy of finished runs while they trained.

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
            f"analysis.runs: no curve was recorded by {'; '.join(without)}: a run has one with labels, test images and "
            "knn.every_n_epochs above 0"
        )
    content = [
        f"{label}:{run.folder.name}:{content_hash(run.result['knn_curve'])}"
        for label, members in runs.items()
        for run in members
    ]
    return Figure(session, of_runs(session, "5-NN accuracy while training", runs, content), [], runs=runs)


def plan_alignment_uniformity(session: Session) -> Figure:
    """Alignment and uniformity of the encoders of finished runs (Wang & Isola, 2020).

    Raises:
        UserError: a run, or its encoder, that is not there.
    """
    settings = session.config["analysis"]
    runs = find_runs(session.job, settings["runs"], settings["labels"])
    content = [f"{run.folder.name}:{run.encoder().name}" for members in runs.values() for run in members]
    analysis = of_runs(session, "Alignment and uniformity", runs, content)
    return Figure(session, analysis, [(session, session.data)], runs=runs)


def row_is_ready(session: Session) -> list[Need] | None:
    """Find or build what a line of Table 1 is measured on.

    Returns:
        Everything that it is made from; None where there is nothing to measure, under prepare=plan and only.

    Raises:
        UserError: what cannot be used or may not be built.
    """
    job = session.job
    needs = [_f(session)]
    if measures_generated(job.config):
        assert session.chain.views is not None
        needs.append((session, session.chain.views))
    if session.prepare == "plan":
        print_plan(session, needs, job.run_dir / METRICS)
        return None
    session.say(f"run: {job.run_dir}")
    check_pairs_fit(session)
    check_run_folder(job)
    parts = unfold(needs)
    check_same_content(job, [artifact.label for _, artifact in parts])
    return parts if ensure(session, needs) else None


def of_runs(session: Session, title: str, runs: Mapping[str, list[FoundRun]], content: list[str]) -> Analysis:
    """An analysis of finished runs, which need not be of the job's budget or data set."""
    members = [run for group in runs.values() for run in group]
    datasets = "+".join(sorted({str(run.result["dataset"]) for run in members}))
    folders = [_below(session, run) for run in members]
    return Analysis(
        session.job, title, content, budget=str(members[0].result["budget"]), runs=folders, dataset=datasets
    )


def viewmaker_folder(session: Session) -> Path | None:
    """The run whose network makes the Viewmaker's views."""
    given = session.config["analysis"].get("viewmaker")
    if given is None:
        return None
    path = Path(str(given)).expanduser()
    return path if path.is_absolute() or path.is_dir() else session.job.out / path


def _of_views(session: Session, title: str, *, sees: bool) -> Figure:
    """A figure of views; `sees`: it looks at them through f."""
    kinds = kinds_of(session, view_words(session.config))
    needs = [(kind.maker, part) for kind in kinds for part in needs_of(kind, whole=False) if kind.session]
    content = [session.data.label]
    content += [label for kind in kinds if kind.has_cache for label in kind.labels_of_cache]
    content += [part.label for kind in kinds if kind.shown == "inverted" for part in needs_of(kind, whole=False)]
    if sees:
        needs.append(_f(session))
        content.append(needs[-1][1].label)
    content += [f"{key}={session.config[part][key]}" for part, key in (("dataset", "flip"), ("data", "expert"))]
    if session.config["data"]["crop_size"] is not None:
        content.append(f"crop_size={session.config['data']['crop_size']}")
    if any(kind.shown == "network" for kind in kinds):
        folder = viewmaker_folder(session)
        assert folder is not None
        weights, _ = find_viewmaker(folder, session.config["dataset"]["name"])
        content.append("/".join(weights.parts[-4:]))
    built = {part.label for _, part in needs}
    few = [kind for kind in kinds if kind.has_cache and kind.cache.label not in built]
    if session.prepare == "only":  # whoever asks for caches wants to have them of all images
        needs += [(kind.maker, part) for kind in kinds if kind.session for part in needs_of(kind, whole=True)]
    return Figure(session, Analysis(session.job, title, sorted(set(content))), needs, kinds, few)


def _f(session: Session) -> Need:
    assert session.chain.reference is not None
    return session, session.chain.reference


def _below(session: Session, run: FoundRun) -> str:
    """A run's folder, relative to `out` where it lies there."""
    out = session.job.out.resolve()
    return str(run.folder.relative_to(out)) if run.folder.is_relative_to(out) else str(run.folder)
