"""What is left after `pip uninstall`, and after the collector's objects were deleted: docs/how-to/uninstall.md says it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cli.conftest import job
from support.hand import until
from support.jupyter import Home, jupyter

from cortex_jupyter.recorder.__main__ import main as record

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from conftest import SandboxProcess
    from support.kube import Kube

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "uninstall.md").read_text()


async def test_the_page_names_each_file_in_a_users_home(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, scratch = unique("left"), tmp_path / "scratch"
    for folder in (scratch, tmp_path / "home"):
        folder.mkdir()
    home = Home(tmp_path / "home", sandbox.kubeconfig, {"TMPDIR": str(scratch)})
    job(kube, name, "echo one; echo two")
    try:
        with jupyter(home) as server:
            assert "two" in server.client.get(f"{server.path(name, 'logs.txt')}").text
        assert (
            "one" in home.run(sys.executable, "-m", "cortex_jupyter.cli", "logs", name, "-f", "--since", "all").stdout
        )
        (folder,) = home.path.rglob("cortex")
        await until((folder / "recordings.sqlite.reserve").exists)
        assert str(folder.relative_to(home.path)) in PAGE
        for path in (*folder.rglob("*"), *scratch.rglob("*cortex*")):
            assert f"`{path.name}`" in PAGE, path
        ours = [path for path in home.path.rglob("*cortex*") if path != folder and folder not in path.parents]
        assert not [path for path in ours if path.suffix != ".log"], "a file outside the folder of recordings"
    finally:
        home.end()


def test_the_page_names_each_object_of_a_collector(capsys: pytest.CaptureFixture[str]) -> None:
    assert record(["--manifests", "--nodes-proxy", "-n", "ml", "--into", "logs"]) == 0
    objects = [*yaml.safe_load_all(capsys.readouterr().out)]
    for obj in objects:
        assert re.search(rf"\b{obj['kind']}s?\b", PAGE), obj["kind"]
        assert not obj["metadata"].get("finalizers")
    assert {obj["kind"] for obj in objects} >= {"ClusterRole", "Role", "Deployment"}
