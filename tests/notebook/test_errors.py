from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.ipython import shell

if TYPE_CHECKING:
    from typing import Any

    from support.filled import Filled

    from cortex_jupyter.store import Store

IMPORT = "import cortex_jupyter as cortex"


@pytest.fixture
def task(filled: Filled) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(100)]).end()


def lines(answer: dict[str, str]) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", answer["out"]).splitlines()


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        ('cortex.logs("ml:train-1", level="loud")', "BadQuery: level='loud' is no level", "levels are trace,"),
        ('cortex.logs("ml:train-1", grep="(")', "BadQuery: grep='(' is no regular expression", "to search for"),
        ('cortex.logs("ml:train-1", contaner="x")', "BadQuery: there is no parameter", "did you mean 'container'?"),
        ('cortex.logs("ml:train-9")', "NoCluster: there is no kubeconfig", "set KUBECONFIG"),
        ("cortex.tasks()", "NoCluster: there is no kubeconfig", "set KUBECONFIG"),
    ],
)
def test_an_error_is_the_users_line_the_message_and_the_hint(task: None, call: str, message: str, hint: str) -> None:
    _, failed = shell(IMPORT, call)
    place, error, advice = lines(failed)
    assert re.fullmatch(r"Cell In\[\d+\], line 1: " + re.escape(call), place)
    assert error.startswith(message) and advice.startswith(f"hint: {hint}")


def test_a_name_that_the_cluster_does_not_have(sandbox: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    _, failed = shell(IMPORT, 'cortex.logs("job/trian-1")')
    place, error, hint = lines(failed)
    assert place.endswith('cortex.logs("job/trian-1")') and hint.startswith("hint: ")
    assert error.startswith("TaskNotFound: ") and "trian-1" in error


def test_every_line_of_the_user_is_named_and_none_of_ours(task: None) -> None:
    _, _, failed = shell(IMPORT, "def mine():\n    x = 1\n    return cortex.logs('ml:train-1', level='loud')", "mine()")
    assert [line.partition(": ")[2] for line in lines(failed)[:-2]] == [
        "mine()",
        "return cortex.logs('ml:train-1', level='loud')",
    ]
    assert len(lines(failed)) == 4


def test_a_limit_of_tracebacks_does_not_hide_the_users_lines(task: None) -> None:
    _, _, failed = shell(IMPORT, "import sys; sys.tracebacklimit = 1", "cortex.logs('ml:train-1', level='loud')")
    place, error, _ = lines(failed)
    assert place.endswith("cortex.logs('ml:train-1', level='loud')") and error.startswith("BadQuery: level='loud'")


def test_the_whole_traceback_is_shown_on_request(task: None) -> None:
    failing = "cortex.logs('ml:train-1', level='loud')"
    _, short, whole, _, verbose, _, again = shell(
        IMPORT, failing, "%tb Verbose", "%xmode Verbose", failing, "%xmode Context", failing
    )
    assert len(lines(short)) == len(lines(again)) == 3
    for answer in (whole, verbose):
        assert "language.py" in answer["out"] and "BadQuery: level='loud' is no level" in "\n".join(lines(answer))


def test_the_debugger_opens_where_the_error_was_raised(task: None) -> None:
    _, _, _, debugged = shell(
        IMPORT, "1/0", "cortex.logs('ml:train-1', level='loud')", "%debug", stdin="p 'value is ' + value\nq\n"
    )
    assert "'value is loud'" in debugged["out"]


def test_python_itself_shows_its_usual_traceback(task: None) -> None:
    script = f"{IMPORT}\ncortex.logs('ml:train-1', level='loud')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback (most recent call last)" in done.stderr and "language.py" in done.stderr
    assert done.stderr.endswith(
        "\n\nhint: levels are trace, debug, info, warning, error, critical; write info,error or =info for exactly these\n"
    )
