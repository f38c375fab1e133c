"""The wheel has all that a user needs after `pip install` into an empty environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jupyterlab_server.config import get_federated_extensions

import cortex_jupyter
from cortex_jupyter.recorder.collector import manifests

ROOT = Path(__file__).parents[1]


def build(root: Path, out: Path, **options: Any) -> Path:
    """Build the sdist, and the wheel from the sdist; return the folder of both."""
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


def empty_environment(folder: Path) -> Path:
    """Create an empty environment and return its Python. Its `pip` runs ours, because installing pip takes seconds."""
    venv.create(folder)
    python, pip = folder / "bin" / "python", folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {python} "$@"\n')
    pip.chmod(0o755)
    return python


def test_the_wheel_holds_the_built_viewer_and_the_server_configuration(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    static = "cortex_jupyter/notebook/static/"
    assert {n.removeprefix(static) for n in names if n.startswith(static)} == {
        "loader.js",
        "viewer.js",
        "store.js",
        "charts.js",
        "panels.js",
        "viewer.css",
        "page.js",
        "page.css",
        "tasks.js",
        "tasks.css",
    }
    assert any(n.endswith("data/etc/jupyter/jupyter_server_config.d/cortex_jupyter.json") for n in names)
    assert "cortex_jupyter/py.typed" in names, "py.typed is missing, so type checkers would ignore our annotations"
    assert not [n for n in names if n.startswith(("js/", "tests/", "cortex_jupyter/lab")) or "node_modules" in n]


def test_front_end_and_changelog_have_the_version_of_the_package() -> None:
    assert json.loads((ROOT / "js" / "package.json").read_text())["version"] == cortex_jupyter.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == cortex_jupyter.__version__


def test_builds_from_the_sdist_are_reproducible(dist: Path, tmp_path: Path) -> None:
    modules = ROOT / "js" / "node_modules"
    if not modules.is_dir() or not shutil.which("node"):
        pytest.skip("node or js/node_modules is missing: make setup")
    made = []
    for name, mask, zone in (("here", 0o022, "UTC"), ("there/deeper", 0o077, "Asia/Tokyo")):
        folder = tmp_path / name
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


def test_installed_into_an_empty_environment_the_extension_is_enabled(wheel: Path, tmp_path: Path) -> None:
    python = empty_environment(tmp_path / "venv")
    constraints = str(ROOT / "constraints.txt")
    pip = [python.with_name("pip"), "install", "-q", "--disable-pip-version-check", "-c", constraints, str(wheel)]
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
    remove = [python.with_name("pip"), "uninstall", "-q", "-y", "--disable-pip-version-check", "cortex-jupyter"]
    subprocess.run(remove, capture_output=True, text=True, check=True)
    assert not [path for path in tmp_path.rglob("*cortex*") if path.name != "cortex"], (
        "something is left in the environment"
    )


def test_the_container_file_installs_the_wheel_and_runs_it_without_root(wheel: Path, tmp_path: Path) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    instructions = {name: value for name, value in steps if name != "RUN"}
    assert re.fullmatch(r"python:3\.\d+-slim", instructions["FROM"]), (
        "the base image is not a short name without a registry"
    )
    assert (
        instructions["USER"] == f"{manifests._USER}:{manifests._USER}" and str(manifests.PORT) == instructions["EXPOSE"]
    )
    assert not re.search(r"https?://|\b(ADD|curl|wget|--index-url|--trusted-host)\b", " ".join(v for _, v in steps))
    sources, target = instructions["COPY"].split()[:-1], tmp_path / "wheel"
    target.mkdir()
    for source in sources:
        (found,) = wheel.parent.glob(Path(source).name) if source.startswith("dist/") else ROOT.glob(source)
        shutil.copy(found, target)

    # Run its own steps, but without downloading dependencies, which are already installed.
    empty_environment(tmp_path / "venv")
    env = {"PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin", "HOME": str(tmp_path), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    for name, value in steps:
        if name == "RUN":
            subprocess.run(["sh", "-euc", value.replace("/tmp/wheel", str(target))], env=env, check=True)
    assert not target.exists()
    with zipfile.ZipFile(wheel) as packed:
        (metadata,) = (packed.read(n).decode() for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
    (extras,) = re.findall(r"\[([a-z,]+)\]\"", text)
    assert not [extra for extra in extras.split(",") if f"Provides-Extra: {extra}\n" not in metadata]
    env["PYTHONPATH"] = sysconfig.get_path("purelib")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run(*json.loads(instructions["CMD"]), "--help")
    assert done.returncode == 0 and "--selector" in done.stdout and not done.stderr
    assert "this process is no service of a JupyterHub" in run("python", "-m", "cortex_jupyter.server.hub").stderr
    where = run("python", "-c", "import cortex_jupyter; print(cortex_jupyter.__file__)").stdout
    assert where.startswith(str(tmp_path)), "the package was imported from this tree and not from the wheel"
