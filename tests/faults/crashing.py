"""Recorders that die at each of their first commits: before it, within its transaction, and after it.

`python crashing.py N FLAG RECORDER-OPTIONS` runs 3 N recorders one after the other, each of which dies. Then it creates
the file FLAG and runs one recorder that does not die. It exits with 0 only if each of the others died where it should.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cortex_jupyter.cluster.session  # noqa: F401 - import it once, before the forks
from cortex_jupyter.recorder.__main__ import main
from cortex_jupyter.store.sqlite.connections import Connections
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

DEAD = 9


def die_at(number: int, moment: str) -> None:
    """Make this process die at its commit number `number`."""
    commit, writing = SqliteStore.commit, Connections.writing
    commits = 0
    is_within = False

    def commit_and_die(self: SqliteStore, *arguments: Any) -> None:
        nonlocal commits, is_within
        commits += 1
        is_due = commits == number
        if is_due and moment == "before":
            os._exit(DEAD)
        is_within = is_due and moment == "within"
        commit(self, *arguments)
        if is_due:
            os._exit(DEAD)

    @contextmanager
    def writing_and_die(self: Connections) -> Iterator[Any]:
        with writing(self) as db:
            yield db
            if is_within and db.total_changes:
                os._exit(DEAD)

    SqliteStore.commit, Connections.writing = commit_and_die, writing_and_die  # type: ignore[method-assign, assignment]


def run(options: list[str], number: int = 0, moment: str = "") -> int:
    """Run a recorder in a forked process; return its exit code."""
    pid = os.fork()
    if not pid:
        if number:
            die_at(number, moment)
        os._exit(main(options))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    commits, flag, *rest = sys.argv[1:]
    codes = [run(rest, n, moment) for n in range(1, int(commits) + 1) for moment in ("before", "within", "after")]
    Path(flag).touch()
    if run(rest) or set(codes) != {DEAD}:
        sys.exit(f"a recorder did not die where it should, or the last one failed: exit codes {codes}")
