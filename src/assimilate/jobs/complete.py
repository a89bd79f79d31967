"""One run from its first artifact to its report."""

from assimilate.jobs.dashboard import tell_parents, tell_views
from assimilate.jobs.plan import announce, needs_of_run, print_plan
from assimilate.jobs.runs import check_run_folder, check_same_content
from assimilate.jobs.session import Session


def complete_run(session: Session) -> None:
    """Find or build everything up to the run's result and report.

    Raises:
        UserError: what cannot be used or may not be built.
    """
    job = session.job
    if session.prepare == "plan":
        print_plan(session)
        return
    session.say(f"run: {job.run_dir}")
    check_run_folder(job)
    chain = session.chain
    check_same_content(job, [artifact.label for artifact in chain.all()])
    announce(session, needs_of_run(session), anew=[chain.encoder, chain.probe])
    session.ensure_all(chain.upstream())
    tell_parents(session)
    tell_views(session)
    if session.prepare == "only":
        session.summarize()
        session.say("prepare=only: upstream is complete, nothing was trained")
        return
    if job.config["force"]:
        for artifact in (chain.encoder, chain.probe):
            if artifact is not None:
                session.store.discard(artifact)
    session.ensure(chain.encoder)
    from assimilate.jobs.result import finish_run  # which imports torch

    finish_run(session)
