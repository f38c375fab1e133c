"""Check that the packages that we need are installed, in versions that fit."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PART: Final = "packages"
_US: Final = "cortex-jupyter"
#: Extras for users; the others are for development.
_EXTRAS: Final = ("pandas", "polars", "archive", "sql", "dask", "valkey", "mask", "hub", "oidc", "otel", "lab")


def judge() -> Iterator[Finding]:
    """Check this environment."""
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        required = metadata.requires(_US) or []
    except metadata.PackageNotFoundError:
        yield Finding(
            PART, TOLD, f"cortex-jupyter {__version__} runs from its folder without being installed, on Python {python}"
        )
        return
    wrong = [*wrong_versions([Requirement(text) for text in required], metadata.version)]
    yield from wrong
    if not wrong:
        yield Finding(
            PART,
            OK,
            f"cortex-jupyter {__version__} on Python {python}; the packages that it needs are installed, in versions that fit",
        )


def wrong_versions(required: Iterable[Requirement], version: Callable[[str], str]) -> Iterator[Finding]:
    """Yield a finding for each package that is missing or has a wrong version. Packages of extras may be missing.

    Parameters
    ----------
    required : iterable of Requirement
    version : callable
        Returns the installed version of a package.

    Yields
    ------
    Finding

    Examples
    --------
    >>> one = Requirement("orjson>=3.11")
    >>> [f.text for f in wrong_versions([one], {"orjson": "3.9"}.__getitem__)]
    ['orjson 3.9 is installed, but >=3.11 is needed']
    """
    reported = set()
    for requirement in required:
        extra = next((e for e in _EXTRAS if requirement.marker and requirement.marker.evaluate({"extra": e})), "")
        if requirement.marker and not extra and not requirement.marker.evaluate({"extra": ""}):
            continue
        todo = f'pip install "{_US}[{extra}]"' if extra else f"pip install {_US}"
        try:
            installed = version(requirement.name)
        except (metadata.PackageNotFoundError, KeyError):
            if not extra:
                yield Finding(PART, BAD, f"{requirement.name} is not installed", todo)
            continue
        if not requirement.specifier.contains(installed, prereleases=True) and requirement.name not in reported:
            reported.add(requirement.name)
            text = f"{requirement.name} {installed} is installed, but {requirement.specifier} is needed"
            yield Finding(
                PART, WARN if extra else BAD, text, f'pip install "{requirement.name}{requirement.specifier}"'
            )
