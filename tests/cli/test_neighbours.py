"""The previous release and this one share a store: readers and recorders of both, and recordings of the older one."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli.conftest import Cli, job
from support.release import unpack_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.kube import Kube

#: The previous release, and the version of its store. Change them with each release.
BEFORE, TABLES = "ab037ed781d4d221c8122f6539e1d3da48c0d984", 3
FILL = """
import sys
from filled import Filled, open_store
task = Filled(open_store(sys.argv[1]))
for start in range(0, 600, 100):
    task.lines([(i % 3 + 1, i * 10**8, f"level={'error' if i % 50 == 7 else 'info'} step={i}") for i in range(start, start + 100)])
task.notice("gap", "lines are missing", at=5, **{"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:00:04Z", "reason": "rotated away"})
task.end(3, "failed", "Job failed exit 3")
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the previous release. Its wheel would hold the same modules, but needs npm to build."""
    return unpack_commit(BEFORE, tmp_path_factory.mktemp("before") / "it", "cortex_jupyter", "tests/frames")


def of(folder: Path, cli: Cli) -> Cli:
    """Return the command line of the previous release, in the same environment."""
    return replace(cli, env=cli.env | {"PYTHONPATH": f"{folder}:{folder}/tests/frames", "PYTHONSAFEPATH": "1"})


def tables(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def following(cli: Cli, name: str) -> Iterator[subprocess.Popen[str]]:
    with ended(cli.start("logs", name, "-f", "--since", "all")) as process:
        yield process


def read(process: subprocess.Popen[str], lines: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(lines)]


def recorder(path: Path, known: int = 0) -> int:
    """Return the process ID of a recorder other than the known one."""
    for _ in range(1200):
        with contextlib.closing(sqlite3.connect(path)) as db:
            for (pid,) in db.execute("SELECT pid FROM recorder WHERE pid != ?", (known,)):
                return int(pid)
        time.sleep(0.025)
    raise AssertionError("there is no recorder")


def test_readers_and_recorders_of_both_releases_share_a_store(
    before: Path, live: Cli, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, old, path = unique("neighbours"), of(before, live), tmp_path / "recordings.sqlite"
    part = "for i in $(seq 30); do n=$((n + 1)); echo line $n; done; while [ ! -e {} ]; do sleep 0.05; done\n"
    job(kube, name, "n=0\n" + "".join(part.format(tmp_path / gate) for gate in ("one", "two", "three")))
    with following(old, name) as older:
        seen = read(older, 30)
        assert tables(path) == TABLES
        first = recorder(path)
        with following(live, name) as newer:
            found = read(newer, 30)
            assert tables(path) > TABLES and f"{before}" in Path(f"/proc/{first}/environ").read_text()

            # The older recorder continues with tables that are new to it, and both releases read what it writes.
            (tmp_path / "one").touch()
            seen, found = seen + read(older, 30), found + read(newer, 30)

            # The newer recorder waits for the lease and takes over. The older reader reads on.
            with ended(live.start("record")) as second:
                assert recorder(path, first) == second.pid
                os.kill(first, signal.SIGKILL)
                (tmp_path / "two").touch()
                seen, found = seen + read(older, 30), found + read(newer, 30)

                # A recorder that is started now must be of this release.
                for refused in (old("logs", name), old("record")):
                    assert refused.returncode == 1 and "another version" in refused.stderr, refused.stderr
                (tmp_path / "three").touch()
                for process in (older, newer):
                    assert process.wait(120) == 0
    assert seen == found == [f"line {i}" for i in range(1, 91)]


def test_recordings_and_archives_of_the_previous_release_are_read(before: Path, cli: Cli, tmp_path: Path) -> None:
    old, path = of(before, cli), tmp_path / "recordings.sqlite"
    url, archive = cli.env["CORTEX_STORE"], str(tmp_path / "archive")
    subprocess.run([sys.executable, "-c", FILL, url], env=old.env, check=True)
    done = old("archive", "--to", archive)
    assert done.returncode == 0 and tables(path) == TABLES, done.stderr
    ask = ("logs", "ml:train-1", "--since", "all", "--timestamps")
    then = old(*ask)
    assert len(then.stdout.splitlines()) == 600 and "rotated away" in then.stderr
    alone = replace(cli, env=cli.env | {"CORTEX_STORE": f"sqlite://{tmp_path}/none.sqlite", "CORTEX_ARCHIVE": archive})
    for now in (cli(*ask), alone(*ask)):
        assert (now.returncode, now.stdout) == (then.returncode, then.stdout)
        assert "rotated away" in now.stderr
    assert tables(path) > TABLES
    found = [
        cli("logs", "ml:train-1", "--since", "all", "--level", "error").stdout,
        alone("logs", "ml:train-1", "--level", "error").stdout,
    ]
    assert found[0] == found[1] and len(found[0].splitlines()) == 12


def test_the_previous_release_goes_on_with_its_own_backup(before: Path, cli: Cli, tmp_path: Path) -> None:
    """The way back of docs/how-to/update.md, after an update that changed the form of the store."""
    old, path, backup = of(before, cli), tmp_path / "recordings.sqlite", tmp_path / "backup"
    subprocess.run([sys.executable, "-c", FILL, cli.env["CORTEX_STORE"]], env=old.env, check=True)
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    ask = ("logs", "ml:train-1", "--since", "all")
    then = old(*ask)
    assert cli(*ask).stdout == then.stdout and tables(path) > TABLES
    refused = old(*ask)
    assert refused.returncode == 1 and "another version" in refused.stderr
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    backup.replace(path)
    again = old(*ask)
    assert (again.returncode, again.stdout, tables(path)) == (then.returncode, then.stdout, TABLES)
