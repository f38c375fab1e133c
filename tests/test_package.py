"""What `pip install` of the wheel gives a user, from an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from jupyterlab_server.config import get_federated_extensions

import cortex_jupyter

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
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
