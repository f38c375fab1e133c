"""The packages that ours needs: whether they are there, in versions that it was made for."""

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
#: Extras that people install; the others are for those who work on it.
_EXTRAS: Final = ("pandas", "polars", "archive", "sql", "dask", "valkey", "mask", "hub", "otel", "lab")


def judge() -> Iterator[Finding]:
    """Look at this environment."""
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        required = metadata.requires(_US) or []
    except metadata.PackageNotFoundError:
        yield Finding(PART, TOLD, f"cortex-jupyter {__version__} is not installed, but runs from its folder, on Python {python}")  # fmt: skip
        return
    wrong = [*wrong_versions([Requirement(one) for one in required], metadata.version)]
    yield from wrong
    if not wrong:
        yield Finding(PART, OK, f"cortex-jupyter {__version__} on Python {python}; what it needs is there, in versions that fit")  # fmt: skip


def wrong_versions(required: Iterable[Requirement], version: Callable[[str], str]) -> Iterator[Finding]:
    """Give what is missing or of a version that does not fit; an extra need not be there.

    Parameters
    ----------
    required : iterable of Requirement
    version : callable
        Gives the installed version of a package.

    Yields
    ------
    Finding

    Examples
    --------
    >>> one = Requirement("orjson>=3.11")
    >>> [f.text for f in wrong_versions([one], {"orjson": "3.9"}.__getitem__)]
    ['orjson 3.9 is installed, needed is >=3.11']
    """
    told = set()
    for one in required:
        extra = next((e for e in _EXTRAS if one.marker and one.marker.evaluate({"extra": e})), "")
        if one.marker and not extra and not one.marker.evaluate({"extra": ""}):
            continue
        todo = f'pip install "{_US}[{extra}]"' if extra else f"pip install {_US}"
        try:
            found = version(one.name)
        except (metadata.PackageNotFoundError, KeyError):
            if not extra:
                yield Finding(PART, BAD, f"{one.name} is not installed", todo)
            continue
        if not one.specifier.contains(found, prereleases=True) and one.name not in told:
            told.add(one.name)
            text = f"{one.name} {found} is installed, needed is {one.specifier}"
            yield Finding(PART, WARN if extra else BAD, text, f'pip install "{one.name}{one.specifier}"')
