"""Print the oldest release that each of our dependencies admits, as constraints for an installer.

The release is the bound in `pyproject.toml` itself. A resolver that is asked for the lowest (`--resolution lowest-direct`)
may settle on a newer one when an indirect dependency conflicts; the bound would then never be tested. With these
constraints it fails instead, and names the conflict.

>>> bounds({"dependencies": ["tornado>=6.4"], "optional-dependencies": {"dask": ["dask[dataframe]>=2024.3"]}})
{'tornado': '6.4', 'dask': '2024.3'}
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Extras of tools, not of the product: they stay new.
_TOOLS = {"test"}


def bounds(project: dict[str, Any]) -> dict[str, str]:
    """Return the lower bound of each dependency by name; `project` is the table of that name in `pyproject.toml`.

    Raises
    ------
    ValueError
        A dependency has no lower bound, or two that differ.
    """
    requirements = list(project["dependencies"])
    for extra, more in project["optional-dependencies"].items():
        if extra not in _TOOLS:
            requirements += more
    found: dict[str, str] = {}
    for requirement in requirements:
        name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        if name == project.get("name"):
            continue  # an extra that is made of others
        bound = re.search(r">=([^,; ]+)", requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        if found.setdefault(name, bound[1]) != bound[1]:
            raise ValueError(f"{name} has two lower bounds: {found[name]} and {bound[1]}")
    return found


if __name__ == "__main__":
    for _name, _bound in bounds(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]).items():
        print(f"{_name}=={_bound}")
