"""A recorder that dies at each of its first commits: before it, within its transaction, and after it.

`python crashing.py N FLAG RECORDER-OPTIONS`: 3 N recorders one after the other; then the file FLAG is made and one lives.
Exits with 0 only if each died where it should.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cortex_jupyter.cluster.session  # noqa: F401 - before the forks: imported once
from cortex_jupyter.recorder.__main__ import main
from cortex_jupyter.store.sqlite.connections import Connections
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

DEAD = 9


def die_at(number: int, place: str) -> None:
    """Have this process die at its commit of that number."""
    commit, writing = SqliteStore.commit, Connections.writing
    done = 0
    within = False

    def dying(self: SqliteStore, *arguments: Any) -> None:
        nonlocal done, within
        done += 1
        due = done == number
        if due and place == "before":
            os._exit(DEAD)
        within = due and place == "within"
        commit(self, *arguments)
        if due:
            os._exit(DEAD)

    @contextmanager
    def torn(self: Connections) -> Iterator[Any]:
        with writing(self) as db:
            yield db
            if within and db.total_changes:
                os._exit(DEAD)

    SqliteStore.commit, Connections.writing = dying, torn  # type: ignore[method-assign, assignment]


def run(options: list[str], number: int = 0, place: str = "") -> int:
    """Run one recorder in a process of its own, and give its exit code."""
    pid = os.fork()
    if not pid:
        if number:
            die_at(number, place)
        os._exit(main(options))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    most, flag, *rest = sys.argv[1:]
    codes = [run(rest, n, place) for n in range(1, int(most) + 1) for place in ("before", "within", "after")]
    Path(flag).touch()
    if run(rest) or set(codes) != {DEAD}:
        sys.exit(f"exit codes {codes}")
