"""An older version of this package, out of its history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def unpacked(commit: str, folder: Path, *paths: str) -> Path:
    """Return a folder with the files of a commit; a test is skipped where there is no history."""
    git = shutil.which("git")
    known = git and subprocess.run([git, "cat-file", "-e", commit], cwd=ROOT, capture_output=True, check=False)
    if not git or not known or known.returncode:
        pytest.skip("the history that holds the release before is not here")
    archive = folder.with_suffix(".tar")
    subprocess.run([git, "archive", "-o", archive, commit, *paths], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, folder, filter="data")
    return folder


def installed(commit: str, folder: Path) -> Path:
    """Return a folder with the wheel of a commit installed, its viewer built with the modules that are here."""
    modules = ROOT / "js" / "node_modules"
    if not modules.is_dir() or not shutil.which("node"):
        pytest.skip("node or js/node_modules is missing: make setup")
    root, target = unpacked(commit, folder / "sources"), folder / "installed"
    (root / "js" / "node_modules").symlink_to(modules)
    python = [sys.executable, "-m"]
    steps: list[tuple[list[str], Path]] = [
        (["node", "build.mjs"], root / "js"),
        ([*python, "build", "--wheel", "--no-isolation", "--outdir", str(folder)], root),
        ([*python, "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)], folder),
    ]
    for command, place in steps:
        wheel = [str(file) for file in folder.glob("*.whl")] if "pip" in command else []
        env = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run([*command, *wheel], cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return target
