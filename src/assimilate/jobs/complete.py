"""One run from its first artifact to its report, or one artifact of it."""

from assimilate.artifacts.artifact import Artifact
from assimilate.errors import UserError
from assimilate.jobs.dashboard import tell_parents, tell_views
from assimilate.jobs.plan import announce, needs_of_run, print_plan, unfold
from assimilate.jobs.runs import check_run_folder, check_same_content
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import discard_all, fill_shard


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


def complete_artifact(session: Session, artifact: Artifact | None, what: str) -> Artifact | None:
    """Find or build one artifact of a job with all that it is made from, or the shard of it that `shard` names.

    Args:
        session: of the job.
        artifact: which; None where the job has no use for it.
        what: it is, for people: "latents".

    Returns:
        The artifact, which is there; None under prepare=plan, which is printed, and of a shard.

    Raises:
        UserError: the job has no use for it, or it cannot or may not be built.
    """
    config = session.config
    if session.prepare == "plan":
        print_plan(session)
        return None
    if artifact is None:
        raise UserError(f"assim={config['assim']['name']} with view={config['view']['name']} needs no {what}")
    if config["shard"] is not None:
        fill_shard(session, artifact)
        return None
    announce(session, unfold([(session, artifact)]), anew=[artifact])
    if config["force"]:
        discard_all(session, artifact)
    session.ensure(artifact)
    return artifact
