"""The end of a run over several processes that cannot end by itself.

xdist restarts a lost worker and gives it the same test again, up to eight times, and its controller waits without limit
for a worker that says nothing. Here a lost worker ends the run, and so does `session_timeout`, which pytest-timeout
itself looks at between two tests of a worker alone. Both name the tests that were running.
"""

import signal

import pytest

_running: dict[str, None] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Arms the timeout in the controller of several workers, which runs no test and so uses no alarm of its own."""
    _running.clear()
    option = session.config.getoption("session_timeout") or session.config.getini("session_timeout")
    if option and session.config.pluginmanager.hasplugin("dsession"):
        limit = float(option)
        signal.signal(signal.SIGALRM, lambda *_: _end(f"the run took more than {limit:g} s"))
        signal.setitimer(signal.ITIMER_REAL, limit)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.pluginmanager.hasplugin("dsession"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_runtest_logstart(nodeid: str) -> None:
    _running[nodeid] = None


def pytest_runtest_logfinish(nodeid: str) -> None:
    _running.pop(nodeid, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """`error` is none where a worker ended as it should."""
    if error:
        _end(f"a test process was lost ({error})")


def _end(reason: str) -> None:
    pytest.exit(f"{reason}; running: {', '.join(_running) or 'no test'}", returncode=1)
