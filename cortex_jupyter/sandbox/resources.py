"""The kinds that this API serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The answer to `/version`: the newest minor version whose fields and rules the sandbox follows.
VERSION: dict[str, Any] = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def qualify(name: str, group: str) -> str:
    """Return the name of a plural or a kind with its group, such as `jobs.batch`; in the core group, '', the name alone."""
    return f"{name}.{group}" if group else name


@dataclass(frozen=True)
class Resource:
    """One kind in one version.

    Attributes
    ----------
    singular, list_kind : str
        Further names; the defaults are derived from the kind.
    is_custom : bool
        Whether a CustomResourceDefinition defines it.
    is_served : bool
        Whether requests may use this version.
    columns : tuple of dict
        `additionalPrinterColumns` of a custom resource.
    schema : dict
        `openAPIV3Schema` of a custom resource.
    """

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)
    singular: str = ""
    list_kind: str = ""
    is_custom: bool = False
    is_served: bool = True
    columns: tuple[dict[str, Any], ...] = ()
    schema: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "singular", self.singular or self.kind.lower())
        object.__setattr__(self, "list_kind", self.list_kind or f"{self.kind}List")

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """The plural, qualified by the group, such as `jobs.batch` or `pods`; the same for all versions.

        It is the key of the store, as `schema.GroupResource` is in the API server, and messages name the resource by it.
        """
        return qualify(self.plural, self.group)


#: The resource of the definitions of custom resources.
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
#: The group of the access reviews, which are requests and not stored.
REVIEW_GROUP = "authorization.k8s.io"
_ALL = ("all",)
_BUILT_IN = (
    Resource("", "v1", "namespaces", "Namespace", ("ns",), namespaced=False),
    Resource("", "v1", "nodes", "Node", ("no",), namespaced=False, subresources=("status", "proxy")),
    Resource("", "v1", "pods", "Pod", ("po",), categories=_ALL, subresources=("status", "log", "ephemeralcontainers")),
    Resource("", "v1", "events", "Event", ("ev",), subresources=()),
    Resource("apps", "v1", "daemonsets", "DaemonSet", ("ds",), categories=_ALL),
    Resource("apps", "v1", "deployments", "Deployment", ("deploy",), categories=_ALL, subresources=("status", "scale")),
    Resource("apps", "v1", "replicasets", "ReplicaSet", ("rs",), categories=_ALL, subresources=("status", "scale")),
    Resource("apps", "v1", "statefulsets", "StatefulSet", ("sts",), categories=_ALL, subresources=("status", "scale")),
    Resource("batch", "v1", "cronjobs", "CronJob", ("cj",), categories=_ALL),
    Resource("batch", "v1", "jobs", "Job", categories=_ALL),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        ("crd", "crds"),
        namespaced=False,
        categories=("api-extensions",),
    ),
)
BUILT_IN = {r.group_resource: r for r in _BUILT_IN}


class Resources:
    """The kinds that the API serves: the built-in ones, and the ones that established CustomResourceDefinitions define."""

    def __init__(self) -> None:
        self._custom: dict[str, tuple[Resource, ...]] = {}
        self._index()

    def _index(self) -> None:
        resources = [*_BUILT_IN, *(r for name in sorted(self._custom) for r in self._custom[name])]
        self._served = {(r.group, r.version, r.plural): r for r in resources if r.is_served}
        self._by_kind = {(r.group, r.kind): r for r in resources}

    def __iter__(self) -> Iterator[Resource]:
        """Return the served resources: the built-in ones, then the custom ones by the names of their definitions."""
        return iter(self._served.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource of a path, or None if it is not served."""
        return self._served.get((group, version, plural))

    def of(self, obj: dict[str, Any]) -> Resource:
        """Return an object's resource, in any version."""
        return self._by_kind[_group_kind(obj)]

    def referenced(self, reference: dict[str, Any]) -> Resource | None:
        """Return the resource of an owner reference, in any version, or None if there is no such kind."""
        return self._by_kind.get(_group_kind(reference))

    def serve(self, definition: str, versions: Iterable[Resource]) -> None:
        """Serve the resources that a CustomResourceDefinition defines. They replace its earlier ones."""
        if (resources := tuple(versions)) != self._custom.get(definition):
            self._custom[definition] = resources
            self._index()

    def withdraw(self, definition: str) -> None:
        """Stop serving the resources of a CustomResourceDefinition."""
        if self._custom.pop(definition, None):
            self._index()


def _group_kind(obj: dict[str, Any]) -> tuple[str, str]:
    return str(obj.get("apiVersion", "")).rpartition("/")[0], str(obj.get("kind", ""))
