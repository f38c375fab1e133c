"""Each distribution that the package or an extra depends on is pinned and has a suitable licence.

Known vulnerabilities need a database on the internet: `pip-audit -r constraints.txt`, `npm audit`.
"""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Licences of packages that a BSD-3 program may depend on. MPL-2.0 has conditions only for changed files.
SUITABLE = re.compile(
    r"(MIT( License)?|MIT-0|BSD( License)?|[023]?BSD|BSD-[23]-Clause|Apache Software License|Apache(-| | License, Version )2\.0"
    r"|ISC( License \(ISCL\))?|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|PSF-2\.0|Python Software Foundation License"
    r"|Zlib|CC0-1\.0|Unlicense|3-Clause BSD License|MIT-CMU)"
)


def all_dependencies() -> dict[str, str]:
    """Return the version of each direct and indirect dependency of the package and its extras, by name."""
    own = [r for name, extra in PROJECT["optional-dependencies"].items() if name != "test" for r in extra]
    left, seen, found = [Requirement(r) for r in PROJECT["dependencies"] + own], set(), {}
    while left:
        asked = left.pop()
        if str(asked) in seen or asked.name == "cortex-jupyter":
            continue
        seen.add(str(asked))
        try:
            installed = distribution(asked.name)
        except PackageNotFoundError as error:
            raise AssertionError(f"{asked} is not installed: make setup") from error
        found[re.sub(r"[-_.]+", "-", asked.name).lower()] = installed.version
        for text in installed.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *asked.extras)):
                needed.marker = None
                left.append(needed)
    return found


def test_every_dependency_is_pinned_and_has_a_suitable_licence() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {
        re.sub(r"[-_.]+", "-", name).lower() for name, equals, _ in (line.partition("==") for line in lines) if equals
    }
    found = all_dependencies()
    assert {"aiohttp", "multidict", "valkey", "jupyterhub", "pyarrow"} <= found.keys()
    assert not found.keys() - pins, "dependencies are missing in constraints.txt"
    other = {}
    for name in found:
        meta = distribution(name).metadata
        licence = meta.get("License-Expression") or meta.get("License", "").partition("\n")[0]
        kinds = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier", []) if c.startswith("License :: OSI")]
        parts = kinds if kinds and not meta.get("License-Expression") else re.split(r" AND | OR |[()]", licence)
        if not all(SUITABLE.fullmatch(part.strip()) for part in parts if part.strip()) or not "".join(parts).strip():
            other[name] = licence or kinds
    assert not other


def test_the_front_end_contains_no_code_of_other_packages() -> None:
    assert "dependencies" not in json.loads((ROOT / "js" / "package.json").read_text())
    sources = [file.read_text() for file in (ROOT / "js" / "src").rglob("*.ts")]
    imports = [
        name for text in sources for name in re.findall(r"^(?:import|export) [^;]*?from \"(.*?)\"", text, re.MULTILINE)
    ]
    assert len(imports) > 100 and not [name for name in imports if not name.startswith(".")]
