"""Older versions of this package, taken from the git history."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def unpack_commit(commit: str, folder: Path, *paths: str) -> Path:
    """Return a folder with the files of a commit; skip the test if the commit is not in the history."""
    git = shutil.which("git")
    lookup = git and subprocess.run([git, "cat-file", "-e", commit], cwd=ROOT, capture_output=True, check=False)
    if not git or not lookup or lookup.returncode:
        pytest.skip(f"commit {commit} is not in the git history")
    archive = folder.with_suffix(".tar")
    subprocess.run([git, "archive", "-o", archive, commit, *paths], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, folder, filter="data")
    return folder


def install_commit(commit: str, folder: Path) -> Path:
    """Return a folder with the wheel of a commit installed; its viewer is built with the current node modules."""
    modules = ROOT / "js" / "node_modules"
    if not modules.is_dir() or not shutil.which("node"):
        pytest.skip("node or js/node_modules is missing: make setup")
    root, target = unpack_commit(commit, folder / "sources"), folder / "installed"
    (root / "js" / "node_modules").symlink_to(modules)
    python = [sys.executable, "-m"]
    steps: list[tuple[list[str], Path]] = [
        (["node", "build.mjs"], root / "js"),
        ([*python, "build", "--wheel", "--no-isolation", "--outdir", str(folder)], root),
        ([*python, "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)], folder),
    ]
    for command, cwd in steps:
        wheel = [str(file) for file in folder.glob("*.whl")] if "pip" in command else []
        env = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        result = subprocess.run([*command, *wheel], cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    return target
