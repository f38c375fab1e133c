"""`make test-neighbours`: do we install beside what our users have? Exit code 1 where we do not.

For each neighbour: resolve it alone, pin the release that this gives (the newest that can be installed on this Python),
then resolve it together with us, as the core and with the extra `all`. Nothing is installed. Our requirements are those
of `pyproject.toml` as it lies there.
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
#: Releases that the table shows: those that neighbours pin.
_SHOWN = ("kubernetes", "ipywidgets", "pandas", "numpy", "pyarrow", "aiohttp")
#: Ways to install us: the arguments that `uv pip compile` takes for each.
_FORMS = {"core": (), "all": ("--extra", "all")}
#: Resolving waits for the index and for packages that must be built to be read, hardly for the processor.
_AT_ONCE = 4


class CannotResolve(Exception):
    """No set of releases satisfies the requirements; the message is the resolver's."""


@dataclass
class Row:
    """What became of one neighbour."""

    requirement: str
    version: str
    releases: dict[str, dict[str, str]]
    """By form (`core`, `all`): the release of each package, by name."""
    refusals: dict[str, str]
    """By form: why the two do not resolve."""


def resolve(requirements: list[str], *, us: tuple[str, ...] | None, python: str) -> dict[str, str]:
    """Return the release of each package that satisfies `requirements`, and ours too unless `us` is None.

    Parameters
    ----------
    requirements : list of str
        Requirements such as `kfp==2.1`.
    us : tuple of str or None
        The resolver's arguments that choose our extras; None leaves us out.
    python : str
        The version of Python to resolve for, such as `3.12`.

    Raises
    ------
    CannotResolve
        There is no such set.
    """
    sources = ["-"] if us is None else ["-", "pyproject.toml", *us]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is not installed: make setup")
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python, *sources]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(requirements), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotResolve(done.stderr.strip())
    return dict(re.findall(r"^([^\s=]+)==(\S+)", done.stdout, re.MULTILINE))


def judge(requirement: str, python: str) -> Row:
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
            row.refusals[form] = str(error)
    return row


def show(rows: list[Row]) -> int:
    """Print the table, then each refusal in the resolver's words; return how many neighbours refuse us."""
    width = max(len(row.requirement) for row in rows)
    head = f"{'package':{width}}  {'version':10}  {'core':4}  {'all':4}  " + "".join(f"{name:12}" for name in _SHOWN)
    print(head.rstrip())
    for row in rows:
        installed = row.releases.get("all") or row.releases.get("core") or {}
        cells = ["no" if form in row.refusals else "yes" for form in _FORMS]
        versions = "".join(f"{installed.get(name, ''):12}" for name in _SHOWN)
        print(f"{row.requirement:{width}}  {row.version:10}  {cells[0]:4}  {cells[1]:4}  {versions}".rstrip())
    refusing = [row for row in rows if row.refusals]
    for row in refusing:
        for form, why in row.refusals.items():
            print(f"\n{row.requirement}=={row.version} and cortex-jupyter ({form}):\n{why}")
    print(f"\n{len(rows) - len(refusing)} of {len(rows)} install beside us")
    return len(refusing)


def main() -> int:
    """Judge the neighbours that are named, or all."""
    parser = argparse.ArgumentParser(description="Resolve us together with the newest release of each neighbour.")
    parser.add_argument("neighbours", nargs="*", default=NEIGHBOURS)
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    options = parser.parse_args()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = list(pool.map(lambda requirement: judge(requirement, options.python), options.neighbours))
    return 1 if show(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
