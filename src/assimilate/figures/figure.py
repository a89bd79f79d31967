"""What a figure shows, and which artifacts it needs before it is drawn; imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assimilate.figures.found_runs import FoundRun, find_viewmaker
from assimilate.figures.inputs import Kind, check_pairs_fit, ensure, kinds_of, made_alone, needs_of
from assimilate.figures.record import RECORD, Analysis
from assimilate.jobs.plan import Need, print_plan, unfold
from assimilate.jobs.runs import check_run_folder, check_same_content
from assimilate.jobs.session import Session
from assimilate.pages.result_file import METRICS
from assimilate.run.analysis_checks import view_words
from assimilate.run.analysis_settings import measures_generated


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

    def finish(self, caption: str) -> None:
        """Record what was drawn, and say where it is."""
        folder = self.analysis.finish(caption)
        for path in sorted(folder.glob("*.p*")):
            self.session.say(f"figure:  {path}")
        self.session.say(f"record:  {folder / RECORD}")


def row_is_ready(session: Session) -> list[Need] | None:
    """Find or build what a line of Table 1 is measured on.

    Returns:
        Everything that it is made from; None where there is nothing to measure, under prepare=plan and only.

    Raises:
        UserError: what cannot be used or may not be built.
    """
    job = session.job
    needs = [f_of(session)]
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


def of_views(session: Session, title: str, *, sees: bool) -> Figure:
    """A figure of views; `sees`: it looks at them through f."""
    kinds = kinds_of(session, view_words(session.config))
    needs = [(kind.maker, part) for kind in kinds for part in needs_of(kind, whole=False) if kind.session]
    content = [session.data.label]
    content += [label for kind in kinds if kind.has_cache for label in kind.labels_of_cache]
    content += [part.label for kind in kinds if kind.shown == "inverted" for part in needs_of(kind, whole=False)]
    if sees:
        needs.append(f_of(session))
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
    if session.prepare == "only":  # prepare=only builds the caches of all images
        needs += [(kind.maker, part) for kind in kinds if kind.session for part in needs_of(kind, whole=True)]
    return Figure(session, Analysis(session.job, title, sorted(set(content))), needs, kinds, few)


def f_of(session: Session) -> Need:
    assert session.chain.reference is not None
    return session, session.chain.reference


def _below(session: Session, run: FoundRun) -> str:
    """A run's folder, relative to `out` where it lies there."""
    out = session.job.out.resolve()
    return str(run.folder.relative_to(out)) if run.folder.is_relative_to(out) else str(run.folder)
