"""A cluster's task is recorded, archived by the recorder, removed from the store, and still reads the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from support.kube import Kube, python_job

from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.retention import enforce_retention

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ = """
import sys
import cortex_jupyter as cortex
log = cortex.logs("ml:{name}")
frame = log.to_pandas()
print(len(log), frame["text"].iloc[-1], log.state, log.complete.done, frame["level"].iloc[0])
print([r.text for r in log.filter(tail=2)], [t["task"] for t in cortex.tasks("ml") if t["recorded"]])
print([r.text for r in log.follow()][:2], log[3].text, len(log.view.to_arrow()))
"""


def until(test: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    end = time.monotonic() + seconds
    while not (found := test()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def test_a_task_from_the_cluster_to_the_archive(
    kube: Kube, sandbox: Any, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    name = unique("archived")
    program = "for i in range(2000): print('2026-01-01 12:00:00 WARNING step %d' % i)"
    kube.create(python_job(name, program, namespace="ml"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CORTEX_", "JUPYTER_"))}
    env = kept | {"CORTEX_STORE": f"sqlite:///{tmp_path / 'r.sqlite'}", "CORTEX_ARCHIVE": str(tmp_path / "archive")}
    env |= {"KUBECONFIG": str(sandbox.kubeconfig), "HOME": str(tmp_path)}

    def cli(*arguments: str) -> str:
        command = [sys.executable, "-m", "cortex_jupyter.cli", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    def read() -> str:
        command = [sys.executable, "-c", READ.format(name=name)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    lines = cli("logs", "-f", f"ml:{name}")
    assert len(lines.splitlines()) == 2000
    archive, ref = ArchiveStore(env["CORTEX_ARCHIVE"]), TaskRef("ml", "job", name)
    info = until(lambda: archive.find(ref), "the recorder archives what is complete")
    before = read()
    store = open_store(env["CORTEX_STORE"])
    try:
        until(lambda: not store.unarchived(env["CORTEX_ARCHIVE"]), "and says so in the store")
        until(
            lambda: enforce_retention(store, now=time.time() + 90 * 86400).removed or store.info(info.id) is None,
            "it may leave",
        )
        assert store.find(ref) is None
    finally:
        store.close()
    assert cli("logs", f"ml:{name}", "--since", "all") == lines  # the Job still exists
    kube.delete("jobs", name, "ml")
    until(lambda: f"ml:job/{name}" in cli("tasks", "-n", "ml"), "the list has it")
    assert read() == before and before.startswith("2000 2026-01-01 12:00:00 WARNING step 1999 succeeded True warning")
    assert cli("logs", f"ml:{name}", "--tail", "1") == lines.splitlines(keepends=True)[-1]
    cli("export", f"ml:{name}", str(tmp_path / "out.parquet"))
    assert (tmp_path / "out.parquet").read_bytes() == next((tmp_path / "archive").rglob("*.parquet")).read_bytes()
