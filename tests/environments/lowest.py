"""Print the oldest allowed release of each dependency, as constraints for an installer.

The release is the lower bound in `pyproject.toml`. A resolver's own `--resolution lowest-direct` may choose a newer release
when an indirect dependency conflicts, and the bound would not be tested. With these constraints it fails and names the
conflict.

>>> bounds({"dependencies": ["tornado>=6.4"], "optional-dependencies": {"dask": ["dask[dataframe]>=2024.3"]}})
{'tornado': '6.4', 'dask': '2024.3'}
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Extras with development tools, which may be newer.
_TOOLS = {"test"}


def bounds(project: dict[str, Any]) -> dict[str, str]:
    """Return the lower bound of each dependency by name; `project` is the table `project` of `pyproject.toml`.

    Raises
    ------
    ValueError
        A dependency has no lower bound, or two that differ.
    """
    requirements = list(project["dependencies"])
    for extra, extra_requirements in project["optional-dependencies"].items():
        if extra not in _TOOLS:
            requirements += extra_requirements
    releases: dict[str, str] = {}
    for requirement in requirements:
        name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        if name == project.get("name"):
            continue  # an extra that consists of other extras
        bound = re.search(r">=([^,; ]+)", requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        if releases.setdefault(name, bound[1]) != bound[1]:
            raise ValueError(f"{name} has two lower bounds: {releases[name]} and {bound[1]}")
    return releases


if __name__ == "__main__":
    for _name, _bound in bounds(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]).items():
        print(f"{_name}=={_bound}")
