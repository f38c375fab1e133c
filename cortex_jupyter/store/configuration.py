"""Check all settings when a process starts: a wrong one would otherwise be ignored, or fail hours later.

docs/reference/settings.md says which value counts if a setting has several.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model.task import check_namespace
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.masking import WORDS
from cortex_jupyter.store.settings import check_scheme
from cortex_jupyter.store.url import is_store, path_of, without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_FORMATS: Final = ("plain", "json")
#: Other variables of ours, of any form; and the variables that Kubernetes sets for a Service of our name.
_OTHERS: Final = ("CORTEX_CLUSTER", "CORTEX_STORE_PASSWORD", "CORTEX_DEMO_IMAGE")
_OF_SERVICES: Final = re.compile(r"CORTEX_\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")


def setting_problems(
    traits: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> list[BadQuery]:
    """Return what is wrong with the settings of this process, each with the name of where it was set.

    Parameters
    ----------
    traits : mapping, optional
        Values of `CortexJupyter`, by their names; an empty one is not set.
    environ : mapping, optional
        The environment variables; by default this process's.

    Examples
    --------
    >>> problems = setting_problems({"store_max_bytes": "50 gigs"}, {"CORTEX_LOG_LEVEL": "loud"})
    >>> [problem.message for problem in problems]
    ["CORTEX_LOG_LEVEL='loud' is no level", "CortexJupyter.store_max_bytes='50 gigs' is not a size"]
    """
    environ = os.environ if environ is None else environ
    given = [(name, environ.get(name, ""), check) for name, check in _CHECKS.items()]
    given += [
        (f"CortexJupyter.{trait}", (traits or {}).get(trait, ""), _CHECKS[name]) for trait, name in TRAITS.items()
    ]
    problems = []
    for name, value, check in given:
        try:
            if value.strip():
                check(name, value)
        except BadQuery as error:
            problems.append(error)
    return problems


def check_settings() -> None:
    """Check the environment variables of this process.

    Raises
    ------
    BadQuery
    """
    for problem in setting_problems():
        raise problem


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that look like settings and are none, each with the setting that was probably meant, or "".

    Examples
    --------
    >>> unknown_variables(dict(CORTEX_STORE_MAXBYTES="1GB", CORTEX_JUPYTER_PORT_9464_TCP="tcp://10.0.0.1:9464"))
    {'CORTEX_STORE_MAXBYTES': 'CORTEX_STORE_MAX_BYTES'}
    """
    known = [*_CHECKS, *_OTHERS]
    unknown = [
        name
        for name in environ
        if name.startswith("CORTEX_") and name not in known and not _OF_SERVICES.fullmatch(name)
    ]
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), "") for name in unknown}


def shown_settings(traits: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a server that are set, by where: a trait counts before the variable. No password is shown."""
    by_variable = {variable: trait for trait, variable in TRAITS.items()}
    shown = {}
    for variable in [*_CHECKS, *_OTHERS]:
        trait = by_variable.get(variable, "")
        name, value = (
            (f"CortexJupyter.{trait}", traits[trait]) if traits.get(trait) else (variable, environ.get(variable))
        )
        if value is not None:
            shown[name] = "set" if "PASSWORD" in name else without_password(value)
    return shown


def _check_store(name: str, value: str) -> None:
    if not is_store(value) or (value.startswith("sqlite:") and path_of(value) is None):
        raise BadQuery(
            f"{name}={without_password(value)!r} is not the URL of a store",
            "write sqlite:///absolute/path or valkey://host",
        )


def _check_mask(name: str, value: str) -> None:
    if value.strip().lower() not in WORDS:
        raise BadQuery(f"{name}={value!r} is neither yes nor no", "set it to 1 or 0")


def _check_kinds(name: str, value: str) -> None:  # noqa: ARG001 - it has messages of its own
    from cortex_jupyter.cluster import kinds  # slow, and rarely set

    kinds.table()


def _check_level(name: str, value: str) -> None:
    if value.lower() not in LEVELS:
        raise BadQuery(f"{name}={value!r} is no level", f"set it to {', '.join(LEVELS)}")


def _check_format(name: str, value: str) -> None:
    if value not in _FORMATS:
        raise BadQuery(f"{name}={value!r} is no format of our log", f"set it to {' or '.join(_FORMATS)}")


def _check_namespace(name: str, value: str) -> None:
    try:
        check_namespace(value)
    except BadQuery as error:
        raise BadQuery(f"{name}={value!r} is no namespace", error.hint) from None


def _check_label(name: str, value: str) -> None:
    if not _LABEL.fullmatch(value):
        raise BadQuery(f"{name}={value!r} is no label", "write it as in Kubernetes, such as example.org/task-id")


def _check_seconds(name: str, value: str) -> None:
    try:
        is_valid = float(value) > 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise BadQuery(f"{name}={value!r} is no number of seconds", "write a number, such as 90")


def _check_audit_log(name: str, value: str) -> None:
    if value not in ("stderr", "otel") and not value.startswith(("/", "~")):
        raise BadQuery(f"{name}={value!r} is no place for an audit log", "write stderr, otel, or /absolute/path")


def _check_archive(name: str, value: str) -> None:
    check_scheme(value, name)


def _check_bytes(name: str, value: str) -> None:
    Budget.parse(max_bytes=value, names=(name, "", ""))


def _check_age(name: str, value: str) -> None:
    Budget.parse(max_age=value, names=("", name, ""))


_CHECKS: Final[dict[str, Callable[[str, str], None]]] = {
    "CORTEX_STORE": _check_store,
    "CORTEX_STORE_MAX_BYTES": _check_bytes,
    "CORTEX_STORE_MAX_AGE": _check_age,
    "CORTEX_STORE_MAX_TASK_BYTES": _check_bytes,
    "CORTEX_ARCHIVE": _check_archive,
    "CORTEX_MASK": _check_mask,
    "CORTEX_KINDS": _check_kinds,
    "CORTEX_NAMESPACE": _check_namespace,
    "CORTEX_TASK_LABEL": _check_label,
    "CORTEX_LOG_LEVEL": _check_level,
    "CORTEX_LOG_FORMAT": _check_format,
    "CORTEX_AUDIT_LOG": _check_audit_log,
    "CORTEX_DEMO_SECONDS": _check_seconds,
}
#: Traits of `CortexJupyter`, and the variables that they override. `mask` and `kinds` are passed on in their variables.
TRAITS: Final = {
    "store_url": "CORTEX_STORE",
    "store_max_bytes": "CORTEX_STORE_MAX_BYTES",
    "store_max_age": "CORTEX_STORE_MAX_AGE",
    "store_max_task_bytes": "CORTEX_STORE_MAX_TASK_BYTES",
    "archive_url": "CORTEX_ARCHIVE",
    "task_label": "CORTEX_TASK_LABEL",
    "audit_log": "CORTEX_AUDIT_LOG",
}
