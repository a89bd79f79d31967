"""What a terminal, a locale or a closed stream may do to a job: nothing."""

import ast
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import assimilate
from assimilate.jobs.streams import keep_printing
from assimilate.jobs.terminal import Terminal
from tests.chain_run import SMOKE, artifacts, results

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0"}
SOURCE = Path(assimilate.__file__).parent


def _texts_of_the_locale(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text in whatever encoding the machine's locale has."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in given:
            continue
        method = call.func.attr if isinstance(call.func, ast.Attribute) else None
        if isinstance(call.func, ast.Name) and call.func.id in ("open", "fdopen"):
            mode = call.args[1] if len(call.args) > 1 else given.get("mode", ast.Constant("r"))
        elif method == "open" and not given.keys() - {"mode", "newline", "errors"} and len(call.args) < 2:
            mode = call.args[0] if call.args else given.get("mode", ast.Constant("r"))
        elif method in ("read_text", "write_text") or (method in ("run", "Popen", "check_output") and "text" in given):
            yield call
            continue
        else:
            continue
        # What is opened by another library takes a name there, not a mode.
        if isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rwax+t"):
            yield call


def test_no_text_file_has_the_encoding_of_the_locale():
    found = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        for call in _texts_of_the_locale(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.fixture
def screen(monkeypatch):
    """Makes a file the standard output of this process, as a terminal of some encoding is."""

    def replaced(path, encoding):
        stream = open(path, "w", encoding=encoding)  # noqa: SIM115  closed by the process
        monkeypatch.setattr(sys, "__stdout__", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        keep_printing()

    return replaced


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "epsilon1 = 0.30 +/- 0.02, Delta 32x32, e, \\xe9\n"),
        ("latin-1", "epsilon1 = 0.30 ± 0.02, Delta 32×32, é, \\xe9\n"),
        ("utf-8", "ε1 = 0.30 ± 0.02, Δ 32×32, é, \\xe9\n"),
    ],
)
def test_letters_that_a_terminal_lacks_are_spelled(screen, tmp_path, encoding, shown):
    screen(tmp_path / "screen", encoding)
    print("ε1 = 0.30 ± 0.02, Δ 32×32, é, \udce9", flush=True)
    assert (tmp_path / "screen").read_text(encoding=encoding) == shown


@pytest.mark.parametrize("path", ["screen", "/dev/full"])
def test_bars_are_drawn_on_any_terminal(screen, tmp_path, path):
    screen(tmp_path / path, "ascii")
    terminal = Terminal(log=tmp_path / "log")
    terminal.console = Console(force_terminal=True)
    with terminal.bar("Measuring ε1") as report:
        report(1, 1, {"ε1": 0.3})
    terminal.say("ε1 of \udce9")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ε1 of \\udce9\n"
    if path == "screen":
        assert "Measuring epsilon1" in (tmp_path / path).read_text(encoding="ascii")


def test_a_chain_in_a_locale_of_ascii(tmp_path):
    words = [*SMOKE, "view=wperturb", f"out={tmp_path}"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "assimilate.train", *words],
            env={**os.environ, **ASCII},
            stdout=subprocess.PIPE,
            stderr=full,
        )
    assert done.returncode == 0
    assert "+/-" in done.stdout.decode("ascii")
    assert len(results(tmp_path)) == 1


def test_a_stream_that_takes_nothing_ends_no_job(copy):
    """Several at a time: a plan, a multirun, help, and an error whose exit code is to be seen."""
    chosen = f"{' '.join(SMOKE)} out={copy}"
    swept = f"-m {chosen} assim=simclr seed=1"
    python = f"exec {sys.executable} -m assimilate"
    commands = {
        f"{python}.train {swept} >/dev/full 2>/dev/full": 0,
        f"{python}.train {chosen} prepare=plan view.epsilon1=0.1 >&- 2>&- <&-": 0,
        f"{python}.train --cfg job >/dev/full": 0,
        f"{python}.train {chosen} view=nothing >&- 2>/dev/full": 2,
    }
    before = len(artifacts(copy, "encoders"))
    running = [subprocess.Popen(["sh", "-c", command], stderr=subprocess.DEVNULL) for command in commands]
    reader, writer = os.pipe()
    os.close(reader)
    running.append(subprocess.Popen(["sh", "-c", f"{python}.train {chosen} prepare=plan"], stdout=writer))
    os.close(writer)
    assert [process.wait() for process in running] == [*commands.values(), 0]
    assert len(artifacts(copy, "encoders")) == before + 1


@pytest.mark.parametrize("width", [80, 120])
def test_a_refusal_on_a_terminal_breaks_no_word(width):
    """Of a pipe it is one line; a command that is to be copied stays in one piece."""
    command = [sys.executable, "-m", "assimilate.train"]
    for words in (["view=wserch"], ["datset=digits"]):
        piped = subprocess.run([*command, *words], capture_output=True, text=True, check=False).stderr
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        with subprocess.Popen(
            [*command, *words],
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
            env=environment | {"TERM": "xterm"},
        ) as process:
            assert process.wait(timeout=300) == 2
        os.close(theirs)
        shown = os.read(ours, 100_000).decode().replace("\r\n", "\n")
        os.close(ours)
        assert piped.count("\n") == 1
        assert shown.split() == piped.split()
        assert max(map(len, shown.splitlines())) <= width
        assert len(shown.splitlines()) > 1 or len(piped) <= width + 1
