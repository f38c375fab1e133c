"""What `pip install` of the wheel gives a user, from an empty environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jupyterlab_server.config import get_federated_extensions

import cortex_jupyter

ROOT = Path(__file__).parents[1]


def build(root: Path, out: Path, **options: Any) -> Path:
    """Build the sdist and, from it alone, the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_the_wheel_holds_the_built_viewer_and_the_server_configuration(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    static = "cortex_jupyter/notebook/static/"
    assert {n.removeprefix(static) for n in names if n.startswith(static)} == {
        "loader.js",
        "viewer.js",
        "store.js",
        "viewer.css",
        "page.js",
        "page.css",
    }
    assert any(n.endswith("data/etc/jupyter/jupyter_server_config.d/cortex_jupyter.json") for n in names)
    assert not [n for n in names if n.startswith(("js/", "tests/", "cortex_jupyter/lab")) or "node_modules" in n]


def test_the_front_end_has_the_version_of_the_package() -> None:
    assert json.loads((ROOT / "js" / "package.json").read_text())["version"] == cortex_jupyter.__version__


def test_whoever_builds_the_sdist_gets_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    modules = ROOT / "js" / "node_modules"
    if not modules.is_dir() or not shutil.which("node"):
        pytest.skip("node or js/node_modules is missing: make setup")
    made = []
    for place, mask, zone in (("here", 0o022, "UTC"), ("there/deeper", 0o077, "Asia/Tokyo")):
        folder = tmp_path / place
        (sdist,) = dist.glob("*.tar.gz")
        shutil.unpack_archive(sdist, folder, filter="data")
        (root,) = folder.iterdir()
        for built in ("labextension", "notebook/static"):
            shutil.rmtree(root / "cortex_jupyter" / built)
        for file in root.rglob("*"):
            os.utime(file)
        (root / "js" / "node_modules").symlink_to(modules)
        subprocess.run(["node", "build.mjs"], cwd=root / "js", check=True, capture_output=True, umask=mask)
        out = build(root, folder / "dist", umask=mask, env=os.environ | {"TZ": zone})
        made.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()})
    assert made[0] == made[1] and len(made[0]) == 2


@pytest.mark.timeout(300)
def test_installed_into_an_empty_environment_the_extension_is_enabled(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [str(python), "-m", "jupyter", "server", "extension", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    shown = listed.stdout + listed.stderr
    assert "cortex_jupyter enabled" in shown.replace("\x1b[32m", "").replace("\x1b[0m", ""), shown
    assert f"cortex_jupyter {cortex_jupyter.__version__} OK" in shown.replace("\x1b[32m", "").replace("\x1b[0m", ""), (
        shown
    )
    labextensions = tmp_path / "venv" / "share" / "jupyter" / "labextensions"
    lab = get_federated_extensions([str(labextensions)])["cortex-jupyter"]
    assert lab["version"] == cortex_jupyter.__version__
    assert (labextensions / "cortex-jupyter" / lab["jupyterlab"]["_build"]["load"]).is_file()
    code = "import cortex_jupyter.notebook.widget as w; print(len(w.bundle('viewer.js')))"
    assert (
        int(subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=env, check=True).stdout) > 0
    )
