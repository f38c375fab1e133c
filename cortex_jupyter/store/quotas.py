"""What the tasks of one namespace may take of a shared store, so that one team cannot evict another's recordings."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model.task import check_namespace
from cortex_jupyter.store.budget import NOT_HELD_HINT, Budget, age_setting
from cortex_jupyter.telemetry.logs import duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.store.protocol import SettingsStore

_log = logging.getLogger(__name__)

#: The setting of a store that keeps all quotas.
SETTING: Final = "quotas"
#: Stands for all namespaces without a value of their own.
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Quota:
    """What the tasks of one namespace may take; None for a part that is not limited.

    Parameters
    ----------
    max_bytes : int or None
        Bytes of all its recordings.
    max_age_s : float or None
        Age of a recording since the end of its task.
    max_lines_per_s : int or None
        Maximum number of lines per second that are read from one task.
    """

    max_bytes: int | None = None
    max_age_s: float | None = None
    max_lines_per_s: int | None = None

    def changed(self, changes: Mapping[str, str]) -> Quota:
        """Return this quota with some parts changed.

        Parameters
        ----------
        changes : mapping
            By the names of `NAMES`. An empty value removes a part.

        Raises
        ------
        BadQuery

        Examples
        --------
        >>> Quota(max_bytes=5).changed({"max-bytes": "", "max-age": "30d", "max-lines-per-s": "5000"})
        Quota(max_bytes=None, max_age_s=2592000.0, max_lines_per_s=5000)
        """
        parts: dict[str, Any] = asdict(self)
        for name, value in changes.items():
            if name not in NAMES:
                raise BadQuery(f"a namespace has no setting {name!r}", f"set one of {', '.join(NAMES)}")
            if name == "max-lines-per-s":
                if value and not (value.isdecimal() and int(value) > 0):
                    raise BadQuery(f"{name}={value!r} is no number of lines", "write a number, such as 5000")
                parts[NAMES[name]] = int(value) if value else None
            else:
                budget = Budget.parse(**{name.replace("-", "_"): value}, names=(name,) * 3)
                parts[NAMES[name]] = getattr(budget, NAMES[name])
        return Quota(**parts)

    def __str__(self) -> str:
        """Return the quota as `cortex-jupyter store set` takes it."""
        texts = {"max_age_s": age_setting(self.max_age_s or 0)}
        parts = {name: key for name, key in NAMES.items() if getattr(self, key) is not None}
        return " ".join(f"{name}={texts.get(key, getattr(self, key))}" for name, key in parts.items())


#: Names that an administrator uses, and the parts of a quota.
NAMES: Final = {"max-bytes": "max_bytes", "max-age": "max_age_s", "max-lines-per-s": "max_lines_per_s"}
_PARTS: Final = tuple(part.name for part in fields(Quota))


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quotas of a store, by namespace.

    Parameters
    ----------
    named : dict
        `ANY` is the quota of all other namespaces, and has the parts that a namespace does not set itself.

    Examples
    --------
    >>> quotas = Quotas({"ml": Quota(max_bytes=5), "*": Quota(2, 60.0)})
    >>> quotas.of("ml"), quotas.of("web")
    (Quota(max_bytes=5, max_age_s=60.0, max_lines_per_s=None), Quota(max_bytes=2, max_age_s=60.0, max_lines_per_s=None))
    >>> Quotas.decode(quotas.encode()) == quotas
    True
    """

    named: dict[str, Quota] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.named)

    def of(self, namespace: str) -> Quota:
        """Return the quota of a namespace."""
        quota, default = self.named.get(namespace, Quota()), self.named.get(ANY, Quota())
        return Quota(*(getattr(default if getattr(quota, part) is None else quota, part) for part in _PARTS))

    def label(self, namespace: str) -> str:
        """Return what stands for a namespace in metrics: its name if an administrator has named it, else `ANY`."""
        return namespace if namespace in self.named else ANY

    def with_quota(self, namespace: str, quota: Quota) -> Quotas:
        """Return these quotas with one of them replaced; an empty one is removed.

        Raises
        ------
        BadQuery
            It is no name of a namespace.
        """
        if namespace != ANY:
            check_namespace(namespace)
        named = {name: each for name, each in self.named.items() if name != namespace}
        return Quotas(named if quota == Quota() else named | {namespace: quota})

    @classmethod
    def decode(cls, text: str) -> Quotas:
        """Return the quotas that a store keeps as text. Parts that only a newer version knows are left out.

        A text of another form has no quotas: a recorder goes on without them.
        """
        try:
            documents: dict[str, dict[str, Any]] = orjson.loads(text) if text else {}
            return cls({name: Quota(**{p: doc.get(p) for p in _PARTS}) for name, doc in documents.items()})
        except (ValueError, AttributeError):
            _log.warning("the quotas of the store cannot be read: %s", text[:200])
            return cls()

    def encode(self) -> str:
        """Return the form that a store keeps."""
        return orjson.dumps(self.named, option=orjson.OPT_SORT_KEYS).decode() if self.named else ""


def read_quotas(store: SettingsStore) -> Quotas:
    """Return the quotas of a store."""
    return Quotas.decode(store.setting(SETTING))


def not_held_hint(store: SettingsStore, namespace: str) -> str:
    """Return what to do when a recording has left a store: the hint names the limits of its namespace, if it has some.

    Raises
    ------
    StoreError
    """
    quotas = read_quotas(store)
    quota = quotas.of(namespace)
    limits = [size_text(quota.max_bytes)] if quota.max_bytes is not None else []
    limits += [f"{duration_text(quota.max_age_s)} after a task's end"] if quota.max_age_s is not None else []
    if not limits:
        return NOT_HELD_HINT
    setting = f"cortex-jupyter store set --namespace {namespace}"
    return (
        f"start again without a cursor; recordings of namespace {namespace} are kept up to {' and '.join(limits)}, "
        f"within the limits of the store (an administrator sets them: `{setting}`)"
    )


def namespace_bytes(usage: Mapping[str, int], quotas: Quotas) -> dict[str, tuple[int, int]]:
    """Return bytes in use and allowed by `Quotas.label`, for all namespaces with a limit in bytes.

    Namespaces that no administrator has named share one row: the one that uses most of its quota.

    Examples
    --------
    >>> namespace_bytes({"ml": 3, "a": 1, "b": 2}, Quotas({"ml": Quota(max_bytes=5), "*": Quota(max_bytes=4)}))
    {'ml': (3, 5), '*': (2, 4)}
    """
    use: dict[str, tuple[int, int]] = {}
    for namespace in [name for name in quotas.named if name != ANY] + [n for n in usage if n not in quotas.named]:
        label, limit = quotas.label(namespace), quotas.of(namespace).max_bytes
        if limit is not None:
            use[label] = max(use.get(label, (0, limit)), (usage.get(namespace, 0), limit))
    return use
