"""`make test-neighbours`: check that the package can be installed beside the packages that its users have.

For each of those neighbours: resolve it alone, which gives the newest release for this Python; then resolve that release
together with this package, as the core and with the extra `all`. Nothing is installed. Our requirements come from
`pyproject.toml`. The exit code is 1 if a neighbour conflicts.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEIGHBOURS = (
    "kfp",
    "kubeflow",
    "kubeflow-training",
    "apache-airflow-providers-cncf-kubernetes",
    "dagster-k8s",
    "prefect-kubernetes",
    "codeflare-sdk",
    "mlrun",
    "dask-kubernetes",
    "skypilot[kubernetes]",
    "zenml[connectors-kubernetes]",
    "flytekit",
    "metaflow",
    "ray[default]",
    "kserve",
    "hera",
    "jupyterhub-kubespawner",
    "sagemaker",
    "mlflow",
    "feast",
)
#: Packages that neighbours often pin; the table shows their releases.
_TABLE_PACKAGES = ("kubernetes", "ipywidgets", "pandas", "numpy", "pyarrow", "aiohttp")
#: Forms of our installation, with the arguments for `uv pip compile`.
_FORMS = {"core": (), "all": ("--extra", "all")}
#: Number of parallel resolutions; they mostly wait for the package index and for builds.
_PARALLEL = 4


class CannotResolve(Exception):
    """No set of releases satisfies the requirements; the message is the resolver's."""


@dataclass
class Row:
    """The result for one neighbour."""

    requirement: str
    version: str
    releases: dict[str, dict[str, str]]
    """By form (`core`, `all`): the release of each package, by name."""
    conflicts: dict[str, str]
    """By form: why the two do not resolve."""


def resolve(requirements: list[str], *, us: tuple[str, ...] | None, python: str) -> dict[str, str]:
    """Resolve requirements, together with ours unless `us` is None; return the release of each package.

    Parameters
    ----------
    requirements : list of str
        Requirements such as `kfp==2.1`.
    us : tuple of str or None
        The resolver's arguments for our extras; None leaves this package out.
    python : str
        The version of Python to resolve for, such as `3.12`.

    Raises
    ------
    CannotResolve
        No set of releases satisfies the requirements.
    """
    sources = ["-"] if us is None else ["-", "pyproject.toml", *us]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is not installed: make setup")
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python, *sources]
    result = subprocess.run(
        command, cwd=ROOT, input="\n".join(requirements), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise CannotResolve(result.stderr.strip())
    return dict(re.findall(r"^([^\s=]+)==(\S+)", result.stdout, re.MULTILINE))


def check(requirement: str, python: str) -> Row:
    """Resolve one neighbour alone, then with us in each form."""
    name = requirement.partition("[")[0]
    try:
        version = resolve([requirement], us=None, python=python)[name]
    except CannotResolve as error:
        return Row(requirement, "none", {}, dict.fromkeys(_FORMS, f"it does not resolve by itself: {error}"))
    row = Row(requirement, version, {}, {})
    for form, us in _FORMS.items():
        try:
            row.releases[form] = resolve([f"{requirement}=={version}"], us=us, python=python)
        except CannotResolve as error:
            row.conflicts[form] = str(error)
    return row


def show(rows: list[Row]) -> int:
    """Print the table and the resolver's message for each conflict; return the number of neighbours with conflicts."""
    width = max(len(row.requirement) for row in rows)
    head = f"{'package':{width}}  {'version':10}  {'core':4}  {'all':4}  " + "".join(
        f"{name:12}" for name in _TABLE_PACKAGES
    )
    print(head.rstrip())
    for row in rows:
        installed = row.releases.get("all") or row.releases.get("core") or {}
        cells = ["no" if form in row.conflicts else "yes" for form in _FORMS]
        versions = "".join(f"{installed.get(name, ''):12}" for name in _TABLE_PACKAGES)
        print(f"{row.requirement:{width}}  {row.version:10}  {cells[0]:4}  {cells[1]:4}  {versions}".rstrip())
    conflicting = [row for row in rows if row.conflicts]
    for row in conflicting:
        for form, message in row.conflicts.items():
            print(f"\n{row.requirement}=={row.version} and cortex-jupyter ({form}):\n{message}")
    print(f"\n{len(rows) - len(conflicting)} of {len(rows)} can be installed beside this package")
    return len(conflicting)


def main() -> int:
    """Check the named neighbours, or all."""
    parser = argparse.ArgumentParser(
        description="Resolve this package together with the newest release of each neighbour."
    )
    parser.add_argument("neighbours", nargs="*", default=NEIGHBOURS)
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    options = parser.parse_args()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        rows = list(pool.map(lambda requirement: check(requirement, options.python), options.neighbours))
    return 1 if show(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
