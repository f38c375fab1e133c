"""How a task is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cortex_jupyter.errors import BadQuery

#: Kinds a task can be, lower case as in a task's key; `selector` is `-l app=x`.
KINDS: Final = ("job", "deployment", "statefulset", "daemonset", "replicaset", "cronjob", "pod", "selector")

_SHORT: Final = {"jobs": "job", "po": "pod", "pods": "pod", "deploy": "deployment", "deployments": "deployment"} | {
    "sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonsets": "daemonset",
    "rs": "replicaset", "replicasets": "replicaset", "cj": "cronjob", "cronjobs": "cronjob",
}  # fmt: skip

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ (DNS subdomain; a Pod's name may be 253 long)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task as a user names it: `[NAMESPACE:][KIND/]NAME`.

    Parameters
    ----------
    namespace : str
    kind : str
        One of `KINDS`, or `""` where the user gave a bare name: a Job, else the one other kind that has it.
    name : str
        For the kind `selector` a label selector.

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
        """Read `[NAMESPACE:][KIND/]NAME` or `[NAMESPACE:]-l SELECTOR`.

        Parameters
        ----------
        text : str
        namespace : str
            What holds where `text` names none.

        Raises
        ------
        BadQuery
            `text` is no task reference.
        """
        head, colon, rest = text.strip().partition(":")
        space, body = (head, rest) if colon else (namespace, head)
        body = body.strip()
        if body.startswith(("-l ", "-l=", "selector/")):
            body = (body[3:] if body.startswith("-l") else body[len("selector/") :]).strip()
            if not body:  # it would select every pod of the namespace
                raise BadQuery(f"{text[:80]!r} selects nothing", "write a label, for instance -l app=train")
            return cls(_checked(space, text), "selector", body)
        kind, slash, name = body.rpartition("/")
        kind = _SHORT.get(kind.lower(), kind.lower())
        if slash and kind not in KINDS:
            raise BadQuery(f"{kind!r} in {text!r} is no kind of task", f"kinds are {', '.join(KINDS[:-1])}")
        return cls(_checked(space, text), kind, _checked(name, text))

    @property
    def key(self) -> str:
        """The one spelling that events, stores and URLs use."""
        return f"{self.namespace}:{self.kind}/{self.name}" if self.kind else f"{self.namespace}:{self.name}"

    @property
    def path(self) -> str:
        """The key as the path of the HTTP contract: `namespace/kind/name`."""
        return f"{self.namespace}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.key


def checked_namespace(name: str) -> str:
    """Give a namespace as it came, where it can be one: it goes into paths of the cluster's API.

    Raises
    ------
    BadQuery

    Examples
    --------
    >>> checked_namespace("ml")
    'ml'
    """
    if not _NAME.match(name):
        raise BadQuery(f"{name[:80]!r} is no namespace", "write its name, for instance ml")
    return name


def _checked(name: str, text: str) -> str:
    if not _NAME.match(name):
        raise BadQuery(
            f"{text[:80]!r} does not name a task", "write [NAMESPACE:][KIND/]NAME, for instance ml:job/train-1"
        )
    return name
