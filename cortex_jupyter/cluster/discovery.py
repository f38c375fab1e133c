"""Find the API of a kind that a user or an owner reference names, as kubectl does.

Kubernetes calls this discovery: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, proxy

from cortex_jupyter.errors import AmbiguousTask, BadQuery, ClusterError, CortexError, KindNotFound, NotAllowed, NotFound
from cortex_jupyter.model.task import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from cortex_jupyter.cluster.session import Cluster

_log = logging.getLogger(__name__)

#: One document for all groups, since Kubernetes 1.26 (beta) and 1.30 (v2); an older server answers with the plain list.
_AGGREGATED: Final = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
#: Number of documents requested at a time from a server that has no aggregated one.
_AT_ONCE: Final = 8
#: Minimum interval (seconds) between two readings because a kind is missing: it may be new.
_MISS_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects in namespaces, and where the API serves it.

    Parameters
    ----------
    group, version : str
    kind : str
        As in manifests: `RayJob`.
    plural, singular : str
    short_names : tuple of str

    Examples
    --------
    >>> resource = Resource("ray.io", "v1", "RayJob", "rayjobs", "rayjob")
    >>> resource.name, resource.path("ml")
    ('rayjob.ray.io', '/apis/ray.io/v1/namespaces/ml/rayjobs')
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str = ""
    short_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind of a task: that of a built-in one (`job`), else kind and group in lower case."""
        if self.is_built_in:
            return self.kind.lower()
        return f"{self.kind}.{self.group}".lower() if self.group else self.kind.lower()

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of the kinds that Kubernetes itself has for workloads."""
        return self.group in ("", "apps", "batch") and self.kind.lower() in KINDS

    @property
    def may_create_pods(self) -> bool:
        """Whether its objects may be tasks: in the core group only pods are, and what creates them."""
        return bool(self.group) or self.kind in ("Pod", "ReplicationController")

    @property
    def api_version(self) -> str:
        """As in manifests: `ray.io/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def get_right(self) -> str:
        """The right to read an object of this kind, as messages name it: `get rayjobs.ray.io`."""
        return f"get {self.plural}.{self.group}" if self.group else f"get {self.plural}"

    def path(self, namespace: str) -> str:
        """Return the URL path of the collection in a namespace; of all namespaces if it is empty."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def answers_to(self, word: str) -> bool:
        """Return whether a word in lower case names this kind: kind, plural, singular or short name."""
        return word in {self.kind.lower(), self.plural, self.singular, *self.short_names} - {""}


JOB: Final = Resource("batch", "v1", "Job", "jobs", "job")
#: A Node owns static pods, and is in no namespace.
_NODE: Final = ("v1", "Node")
#: Built-in owners of pods by API version and kind, which need no request.
BUILT_IN: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        Resource("", "v1", "Pod", "pods", "pod"),
        JOB,
        Resource("batch", "v1", "CronJob", "cronjobs", "cronjob"),
        *(Resource("apps", "v1", f"{kind}Set", f"{kind}sets".lower()) for kind in ("Replica", "Stateful", "Daemon")),
        Resource("apps", "v1", "Deployment", "deployments", "deployment"),
    )
}


class Discovery:
    """The kinds that an API server serves; read when they are needed, and again when one is missing.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        # Weak, because the cluster is the key under which this is kept.
        self._cluster = proxy(cluster)
        self._versions: dict[str, list[str]] = {}  # by group, the preferred one first
        self._resources: dict[str, list[Resource]] = {}  # by group and version, as in `apiVersion`
        self._errors: dict[str, CortexError] = {}  # the reasons for versions that could not be read
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def resources(self, groups: Collection[str] | None = None) -> list[Resource]:
        """Return the kinds of some API groups or of all, each in the version that the server prefers.

        Raises
        ------
        ClusterError, NotAllowed
        """
        async with self._reading:
            if not self._versions:
                await self._read_groups()
            missing = [
                version
                for group, versions in self._versions.items()
                for version in versions
                if version not in self._resources and (groups is None or group in groups)
            ]
            limit = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._read_version(version, limit) for version in missing))
        preferred: dict[tuple[str, str], Resource] = {}
        for group, versions in self._versions.items():
            for version in versions if groups is None or group in groups else ():
                for resource in self._resources.get(version, ()):
                    preferred.setdefault((group, resource.kind), resource)
        return list(preferred.values())

    async def find(self, word: str) -> Resource:
        """Find the one kind of tasks that a word names, as `find_all` takes it.

        Raises
        ------
        AmbiguousTask
            Several groups have it.
        KindNotFound, BadQuery, ClusterError, NotAllowed
        """
        matches = await self.find_all(word)
        if len(matches) > 1:
            names = [resource.name for resource in matches]
            raise AmbiguousTask(f"several kinds are named {word!r}: {', '.join(names)}", f"name one: {names[0]}/NAME")
        return matches[0]

    async def find_all(self, word: str) -> list[Resource]:
        """Find the kinds of tasks of a name by what kubectl accepts: kind, plural, singular or short name, also with the group.

        Parameters
        ----------
        word : str
            `rayjob`, `RayJobs`, `rayjobs.ray.io`, `rayjobs.v1.ray.io`. A part of the group is enough.

        Returns
        -------
        list of Resource
            At least one; several if several groups have such a kind.

        Raises
        ------
        KindNotFound
            The cluster has no such kind. The hint names a similar one.
        BadQuery
            Its objects create no pods, as Secrets.
        ClusterError, NotAllowed
        """
        named = _named(word, await self.resources(), self._versions)
        if not named and self.forget():
            named = _named(word, await self.resources(), self._versions)
        task_kinds = [resource for resource in named if resource.may_create_pods]
        if named and not task_kinds:
            raise BadQuery(
                f"a {named[0].kind} is no task: it creates no pods",
                "a task is a Pod or what creates Pods, such as a Job, a Deployment or a RayJob; `cortex-jupyter tasks` lists them",
            )
        if not task_kinds and self._errors:
            raise ClusterError(f"it is not known whether there is a kind {word!r}: {next(iter(self._errors.values()))}")
        if not task_kinds:
            by_word: dict[str, list[str]] = {}
            for resource in filter(lambda resource: resource.may_create_pods, await self.resources()):
                for each in {resource.kind.lower(), resource.plural, *resource.short_names}:
                    by_word.setdefault(each, []).append(resource.name)
            matches = difflib.get_close_matches(word.partition(".")[0].lower(), by_word)
            similar = dict.fromkeys(name for match in matches for name in by_word[match])
            hint = f"similar kinds: {', '.join(similar)}" if similar else "`kubectl api-resources` lists the kinds"
            raise KindNotFound(f"the cluster has no kind {word!r}", hint)
        return task_kinds

    async def of_object(self, api_version: str, kind: str) -> Resource | None:
        """Return the kind of an object, as its manifest or an owner reference names it.

        None if it is not served, or not in namespaces.

        Raises
        ------
        ClusterError, NotAllowed
        """
        if (api_version, kind) in BUILT_IN:
            return BUILT_IN[api_version, kind]
        if (api_version, kind) == _NODE:
            return None
        resource = await self._of_object(api_version, kind)
        # Only once: on a slow server the first document may be old again when the last one arrives.
        if resource is None and self.forget():
            resource = await self._of_object(api_version, kind)
        return resource

    async def _of_object(self, api_version: str, kind: str) -> Resource | None:
        group = api_version.rpartition("/")[0]
        resource = next((r for r in await self.resources((group,)) if r.kind == kind), None)
        if resource is None and api_version in self._errors:
            raise ClusterError(f"the kinds of {api_version} are not known: {self._errors[api_version]}")
        return resource

    def forget(self) -> bool:
        """Drop the documents, so that the next call reads them again; return False if they were read a moment ago."""
        if time.monotonic() - self._read_at < _MISS_S:
            return False
        self._versions, self._resources, self._errors = {}, {}, {}
        return True

    async def _read_groups(self) -> None:
        versions: dict[str, list[str]] = {}
        paths = ("/api", "/apis")
        documents = await asyncio.gather(*(self._cluster.json(path, accept=_AGGREGATED) for path in paths))
        for path, document in zip(paths, documents, strict=True):
            with _reading(path):
                if document.get("kind") == "APIGroupDiscoveryList":
                    for resource in _aggregated(document):
                        if resource.api_version not in versions.setdefault(resource.group, []):
                            versions[resource.group].append(resource.api_version)
                            self._resources[resource.api_version] = []
                        self._resources[resource.api_version].append(resource)
                else:
                    versions |= _served_versions(document)
        self._versions, self._read_at = versions, time.monotonic()

    async def _read_version(self, version: str, limit: asyncio.Semaphore) -> None:
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        async with limit:
            try:
                document = await self._cluster.json(path)
                with _reading(path):
                    self._resources[version] = _listed(document)
                self._errors.pop(version, None)
            except NotFound:
                self._resources[version] = []
            except (NotAllowed, ClusterError) as error:
                # The server behind an aggregated API may be down, which must not hide all other kinds.
                _log.warning("the kinds of %s are not known: %s", version, error)
                self._errors[version] = error


_discoveries: WeakKeyDictionary[Cluster, Discovery] = WeakKeyDictionary()


def discovery(cluster: Cluster) -> Discovery:
    """Return the one discovery of a cluster."""
    cached = _discoveries.get(cluster)
    if cached is None:
        cached = _discoveries[cluster] = Discovery(cluster)
    return cached


def is_absent(error: NotFound, name: str) -> bool:
    """Return whether an error of the API server means that an object is absent; otherwise its kind or version is.

    Examples
    --------
    >>> is_absent(NotFound('workflows.argoproj.io "etl" not found'), "etl"), is_absent(NotFound("404 page not found"), "etl")
    (True, False)
    """
    return f'"{name}" not found' in error.message


def _named(word: str, resources: Iterable[Resource], versions: Mapping[str, Collection[str]]) -> list[Resource]:
    """Return the kinds that a word names; an exact group comes before the first part of one, as in kubectl.

    A version before the group may be any version that the server has for the group, as `versions` lists them.
    """
    name, _, group = word.lower().partition(".")
    named = [resource for resource in resources if resource.answers_to(name)]
    if not group:
        return named
    version, _, rest = group.partition(".")
    exact = [
        r for r in named if r.group == group or (r.group == rest and f"{rest}/{version}" in versions.get(rest, ()))
    ]
    return exact or [r for r in named if r.group.startswith(group)]


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Report a malformed document as an error of the cluster: an aggregated API may serve anything.

    Raises
    ------
    ClusterError
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise ClusterError(
            f"the cluster's answer to {path} has not the form of a list of kinds: {type(error).__name__}: {error}",
            f"`kubectl get --raw {path}` shows it",
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _aggregated(document: dict[str, Any]) -> list[Resource]:
    """Return the kinds of an `APIGroupDiscoveryList`; the preferred version of a group comes first."""
    return [
        Resource(
            _text(group["metadata"].get("name") or ""),
            _text(version["version"]),
            _text((entry.get("responseKind") or {}).get("kind") or ""),
            _text(entry["resource"]),
            _text(entry.get("singularResource") or ""),
            tuple(map(_text, entry.get("shortNames") or ())),
        )
        for group in document.get("items") or ()
        for version in group.get("versions") or ()
        for entry in version.get("resources") or ()
        if entry.get("scope") == "Namespaced"
    ]


def _served_versions(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the versions that an `APIVersions` or `APIGroupList` names, by group; the preferred one first."""
    if document.get("kind") == "APIVersions":
        return {"": list(map(_text, document.get("versions") or ()))}
    served: dict[str, list[str]] = {}
    for group in document.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("groupVersion")
        versions = [_text(version["groupVersion"]) for version in group.get("versions") or ()]
        served[_text(group["name"])] = [v for v in versions if v == preferred] + [v for v in versions if v != preferred]
    return served


def _listed(document: dict[str, Any]) -> list[Resource]:
    """Return the kinds in namespaces of an `APIResourceList`, without subresources."""
    group, _, version = document["groupVersion"].rpartition("/")
    return [
        Resource(
            group,
            version,
            _text(entry["kind"]),
            _text(entry["name"]),
            _text(entry.get("singularName") or ""),
            tuple(map(_text, entry.get("shortNames") or ())),
        )
        for entry in document.get("resources") or ()
        if entry.get("namespaced") and "/" not in entry["name"]
    ]
