"""A multirun of which some jobs would ignore an override, as two commands."""

from collections.abc import Callable, Sequence

from assimilate.errors import IgnoredError, UserError
from assimilate.run.composing import parse
from assimilate.run.job import shell_command
from assimilate.run.neutral import key_of
from assimilate.run.words import typed_words


def two_commands(
    stage: str,
    words: Sequence[str],
    job: Sequence[str],
    ignored: Sequence[str],
    check: Callable[[Sequence[str]], object],
) -> str:
    """The two commands, in a sentence; "" where no single list of values divides the jobs.

    Args:
        stage: the command.
        words: the overrides of the multirun.
        job: those of the job that ignores some.
        ignored: the keys that it ignores.
        check: makes a job of overrides, or raises why it cannot.
    """
    without = [word for word in words if key_of(word) not in ignored]
    for override in parse(words):
        if not override.is_discrete_sweep():
            continue
        key, line = override.get_key_element(), str(override.input_line)
        good: list[str] = []
        bad: list[str] = []
        for value in override.sweep_string_iterator():
            word = f"{key}={value}"
            tried = [word if key_of(each) == key_of(line) else each for each in job]
            try:
                check(tried)
                good.append(value)
            except IgnoredError:
                try:
                    check([each for each in tried if key_of(each) not in ignored])
                except UserError:
                    return ""
                bad.append(value)
            except UserError:
                return ""
        if good and bad:
            commands = [
                _command(stage, [f"{key}={','.join(values)}" if word == line else word for word in some])
                for some, values in ((words, good), (without, bad))
            ]
            return f"Give two commands: {commands[0]}; {commands[1]}"
    return ""


def _command(stage: str, words: Sequence[str]) -> str:
    several = any(override.is_sweep_override() for override in parse(words))
    return shell_command(stage, [*(["-m"] if several else []), *typed_words(words)])
