"""What README and docs say that one may type, can be typed."""

import pytest

from tests.documented_commands import Desk, Documented, documented, documents, run, why_not_here


def _as_parameter(command: Documented):
    # A sweep composes dozens of jobs.
    return pytest.param(
        command, id=command.place, marks=[pytest.mark.slow] * (" -m " in command.text.removeprefix("python -m"))
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk.lay(tmp_path_factory.mktemp("desk"))


@pytest.mark.xdist_group("documented_commands")
@pytest.mark.parametrize("command", [_as_parameter(each) for each in documented() if why_not_here(each) is None])
def test_a_command_of_the_documents_runs(desk, command):
    code, said = run(command, desk)
    assert code == 0, f"{command.text}\n{said}"


def test_commands_are_found_in_every_form():
    """A block, a continued line, a comment behind a command, a sentence."""
    texts = [command.text for command in documented()]
    assert "assimilate train dataset=cifar100 view=wsearch assim=a2" in texts
    assert "assimilate calibrate dataset=digits budget=smoke" in texts
    assert any(text.endswith("loss.temperature=0.2 loss.alpha=0.4 'loss.align_anchors=[0]'") for text in texts)
    assert "make check" in texts
    assert not any("#" in text for text in texts)


def test_what_cannot_be_run_here_is_little_and_has_its_reason():
    reasons = {each.text: reason for each in documented() if (reason := why_not_here(each)) is not None}
    assert all(reasons.values())
    ours = [reason for text, reason in reasons.items() if text.startswith(("python -m assimilate", "assimilate "))]
    assert all("extra" in reason or "SLURM" in reason for reason in ours)


def test_nobody_is_told_to_install_another_program_of_the_name():
    """The name `assimilate` is another distribution's; ours is installed from the checkout."""
    for path in documents():
        assert "install assimilate" not in path.read_text(encoding="utf-8").replace("'", ""), path
