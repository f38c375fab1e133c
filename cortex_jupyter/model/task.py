"""Names of tasks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Kinds of tasks, in lower case as in a task's key; `selector` is `-l app=x`.
KINDS: Final = ("job", "deployment", "statefulset", "daemonset", "replicaset", "cronjob", "pod", "selector")

_SHORT_NAMES: Final = {
    "jobs": "job",
    "po": "pod",
    "pods": "pod",
    "deploy": "deployment",
    "deployments": "deployment",
} | {
    "sts": "statefulset",
    "statefulsets": "statefulset",
    "ds": "daemonset",
    "daemonsets": "daemonset",
    "rs": "replicaset",
    "replicasets": "replicaset",
    "cj": "cronjob",
    "cronjobs": "cronjob",
}

#: The API groups of the built-in kinds, which kubectl lets a user write after the kind.
_BUILT_IN_GROUPS: Final = ("batch", "v1.batch", "apps", "v1.apps", "v1")
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ (DNS subdomain; a Pod's name may be 253 long)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task as a user names it: `[NAMESPACE:][KIND/]NAME`.

    Parameters
    ----------
    namespace : str
    kind : str
        One of `KINDS`, or the kind of a custom resource: as a user wrote it (`rayjob`), or with its group
        (`rayjob.ray.io`) once discovery has resolved it. `""` for a bare name: a Job or the custom resource that owns it, else the only other
        workload with this name.
    name : str
        For the kind `selector`, a label selector.

    Examples
    --------
    >>> TaskRef.parse("ml:job/train-1")
    TaskRef(namespace='ml', kind='job', name='train-1')
    >>> TaskRef.parse("deploy/api", namespace="web").key
    'web:deployment/api'
    """

    namespace: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str, namespace: str = "default") -> TaskRef:
        """Parse `[NAMESPACE:][KIND/]NAME` or `[NAMESPACE:]-l SELECTOR`.

        Parameters
        ----------
        text : str
        namespace : str
            The namespace if `text` names none.

        Raises
        ------
        BadQuery
            `text` does not name a task.
        """
        head, colon, rest = text.strip().partition(":")
        space, body = (head, rest) if colon else (namespace, head)
        body = body.strip()
        if body.startswith(("-l ", "-l=", "selector/")):
            body = (body[3:] if body.startswith("-l") else body[len("selector/") :]).strip()
            if not body:  # an empty selector would select every pod of the namespace
                raise BadQuery(f"{text[:80]!r} has an empty label selector", "write a label, for instance -l app=train")
            return cls(_check_name(space, text), "selector", body)
        kind, slash, name = body.rpartition("/")
        kind = _built_in(kind.lower())
        if slash and not _NAME.match(kind):
            raise BadQuery(f"{kind[:80]!r} in {text[:80]!r} is no kind", "write KIND/NAME, for instance job/train-1")
        return cls(_check_name(space, text), kind, _check_name(name, text))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TaskRef:
        """Return the task that an archive names. A newer version may have written fields that this one does not know."""
        return cls(**{name: document[name] for name in cls.__slots__ if name in document})

    @property
    def is_custom(self) -> bool:
        """Whether the kind is that of a custom resource."""
        return bool(self.kind) and self.kind not in KINDS

    def allows_kind(self, kind: str) -> bool:
        """Return whether the reference may mean a task of this kind; it may leave out the kind, or a kind's group.

        Examples
        --------
        >>> TaskRef.parse("rayjob/tune").allows_kind("rayjob.ray.io"), TaskRef.parse("job/x").allows_kind("job.batch.volcano.sh")
        (True, False)
        """
        return self.kind in ("", kind) or (self.is_custom and kind.startswith(f"{self.kind}."))

    @property
    def key(self) -> str:
        """The task's canonical name in events, stores and URLs."""
        return f"{self.namespace}:{self.kind}/{self.name}" if self.kind else f"{self.namespace}:{self.name}"

    @property
    def path(self) -> str:
        """The key as in HTTP addresses: `namespace/kind/name`."""
        return f"{self.namespace}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.key


def _built_in(kind: str) -> str:
    """Return the name of a built-in kind for what kubectl accepts as one; other kinds as they are.

    Examples
    --------
    >>> _built_in("deploy"), _built_in("jobs.batch"), _built_in("jobs.batch.volcano.sh")
    ('deployment', 'job', 'jobs.batch.volcano.sh')
    """
    word, _, group = kind.partition(".")
    name = _SHORT_NAMES.get(word, word)
    return name if name in KINDS and (not group or group in _BUILT_IN_GROUPS) else kind


def check_namespace(name: str) -> str:
    """Return the namespace unchanged if it is a valid name, because it becomes part of paths of the cluster's API.

    Raises
    ------
    BadQuery
        The name is invalid.

    Examples
    --------
    >>> check_namespace("ml")
    'ml'
    """
    if not _NAME.match(name):
        raise BadQuery(f"{name[:80]!r} is no namespace", "write its name, for instance ml")
    return name


def _check_name(name: str, text: str) -> str:
    if not _NAME.match(name):
        if _NAME.match(name.lower()):
            corrected = text.strip()[:80].lower()
            raise BadQuery(
                f"{text[:80]!r} does not name a task: names in Kubernetes are lower-case", f"did you mean {corrected}?"
            )
        raise BadQuery(
            f"{text[:80]!r} does not name a task", "write [NAMESPACE:][KIND/]NAME, for instance ml:job/train-1"
        )
    return name
