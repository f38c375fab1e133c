"""`cortex-jupyter search`, as users of grep and kubectl expect it."""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.filled import Filled

from cortex_jupyter.cli.search import _Writer
from cortex_jupyter.notebook.search import SearchResult, TaskMatches

if TYPE_CHECKING:
    from cli.conftest import Cli

    from cortex_jupyter.store import Store


@pytest.fixture(autouse=True)
def tasks(store: Store) -> None:
    """Two tasks with matches, and one without."""
    Filled(store, "one").lines([(1, i, f"step {i} CUDA out of memory") for i in range(3)]).end()
    Filled(store, "two").lines([(1, 0, "fine"), (2, 1, "\x1b[31mcuda OUT of memory\x1b[0m")]).end()
    Filled(store, "three").lines([(1, 0, "all is well")]).end()


def test_lines_are_written_with_their_task(cli: Cli) -> None:
    done = cli("search", "CUDA out of memory", "-n", "ml")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"ml:job/one:step {i} CUDA out of memory" for i in range(3)]
    assert done.stderr.splitlines()[0] == "3 lines in 1 of 3 tasks"
    # Without capital letters it matches in any case; the text is as written when piped.
    done = cli("search", "out of memory -step", "-n", "ml", "--prefix", "always", "--timestamps")
    assert done.stdout == (
        "ml:job/two:2026-01-01T00:00:00.000000001Z train-1-bb/main \x1b[31mcuda OUT of memory\x1b[0m\n"
    )


def test_exit_codes_are_those_of_grep(cli: Cli) -> None:
    nothing = cli("search", "no such text", "-n", "ml")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    option = cli("search", "x", "-n", "ml", "--nope")
    assert option.returncode == 2 and "unrecognized arguments: --nope" in option.stderr
    wrong = cli("search", "/(/", "-n", "ml")
    assert wrong.returncode == 2 and "no regular expression" in wrong.stderr
    failed = cli("search", "memory", "ml:one", "ml:missing")
    assert failed.returncode == 2 and len(failed.stdout.splitlines()) == 3
    assert "ml:missing could not be searched: there is no kubeconfig" in failed.stderr
    alone = cli("search", "memory", "ml:missing")
    assert (alone.returncode, alone.stdout) == (2, "") and "no kubeconfig" in alone.stderr


def test_counts_and_limits(cli: Cli) -> None:
    counts = cli("search", "memory", "-n", "ml", "-c")
    assert sorted(counts.stdout.splitlines()) == ["ml:job/one:3", "ml:job/two:1"]
    newest = cli("search", "memory", "-n", "ml", "one", "-m", "2")
    assert newest.stdout.splitlines() == [f"ml:job/one:step {i} CUDA out of memory" for i in (1, 2)]
    assert "ml:job/one: 3 lines; these are the newest 2" in newest.stderr


def test_json_and_ndjson(cli: Cli) -> None:
    whole = orjson.loads(cli("search", "CUDA", "-n", "ml", "-o", "json").stdout)
    assert (whole["matches"], whole["searched"], whole["all"], whole["failed"]) == (3, 3, True, [])
    [task] = whole["tasks"]
    assert (task["task"], task["matches"], task["all"]) == ("ml:job/one", 3, True)
    rows = [orjson.loads(row) for row in cli("search", "CUDA", "-n", "ml", "-o", "ndjson").stdout.splitlines()]
    assert rows == task["records"]
    assert rows[0] == {
        "task": "ml:job/one",
        "seq": 1,
        "time": "2026-01-01T00:00:00.000000000Z",
        "pod": "train-1-aa",
        "container": "main",
        "kind": "main",
        "run": 0,
        "stream": "unknown",
        "level": None,
        "text": "step 0 CUDA out of memory",
    }
    assert orjson.loads(cli("search", "CUDA", "-n", "ml", "-c", "-o", "ndjson").stdout) == {
        "task": "ml:job/one",
        "matches": 3,
        "all": True,
    }


def test_a_terminal_gets_colours_and_no_control_codes_of_a_line(cli: Cli) -> None:
    ours, theirs = pty.openpty()
    env = {k: v for k, v in cli.env.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    done = subprocess.run(
        cli.command("search", "of memory", "ml:two"), env=env, stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0 and "\x1b[1;31mof memory\x1b[0m" in text and "ml:job/two" in text


def test_a_task_that_ends_while_others_are_written_is_written_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Another thread receives the results."""

    class Growing(list[TaskMatches]):
        def __getitem__(self, place: Any) -> Any:
            read = super().__getitem__(place)
            if len(self) == 1:
                self.append(TaskMatches("ml:job/two", [], 2, is_exact=True))
            return read

    result = SearchResult("x")
    result.tasks = Growing([TaskMatches("ml:job/one", [], 1, is_exact=True)])
    writer = _Writer(argparse.Namespace(count=True, output="text"))
    for _ in range(3):
        writer.write(result)
    assert capsys.readouterr().out == "ml:job/one:1\nml:job/two:2\n"
