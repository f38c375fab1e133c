"""The REST API of objects: create, get, list, watch, update, patch and delete."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import yaml
from aiohttp import web

from cortex_jupyter.sandbox import customresources, defaults, patch, selectors, status
from cortex_jupyter.sandbox.deletion import delete, finalize, is_marked
from cortex_jupyter.sandbox.objects import new_uid
from cortex_jupyter.sandbox.representations import Representation
from cortex_jupyter.sandbox.resources import BUILT_IN, DEFINITIONS, REVIEW_GROUP, Resource
from cortex_jupyter.sandbox.watch import Watch

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.objects import Store
    from cortex_jupyter.sandbox.resources import Resources


#: The verb of an access check for each HTTP method.
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
#: The groups whose missing resources answer a Status; any other group answers plain text.
_BUILT_IN_GROUPS = {*(r.group for r in BUILT_IN.values()), REVIEW_GROUP}


@dataclass(frozen=True)
class Target:
    """The resource, and the object if any, that a path addresses."""

    resource: Resource
    namespace: str
    name: str
    sub: str

    @property
    def permission(self) -> str:
        """The resource as an RBAC rule names it, such as `pods/log`."""
        return f"{self.resource.plural}/{self.sub}" if self.sub else self.resource.plural


def parse_path(path: str, resources: Resources) -> Target:
    """Parse a path below `/api` or `/apis`.

    Raises
    ------
    ApiError
        404 if the path addresses no served resource.

    Examples
    --------
    >>> from cortex_jupyter.sandbox.resources import Resources
    >>> parse_path("/api/v1/namespaces/ml/pods/x/log", Resources())  # doctest: +ELLIPSIS
    Target(resource=Resource(... plural='pods', ...), namespace='ml', name='x', sub='log')
    """
    parts = path.strip("/").split("/")
    group, rest = ("", parts[1:]) if parts[0] == "api" else ("/".join(parts[1:2]), parts[2:])
    version, rest = (rest[0] if rest else ""), rest[1:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):  # namespaces/NS/PLURAL
        namespace, rest = rest[1], rest[2:]
    resource = resources.find(group, version, rest[0]) if rest else None
    if resource is None or parts[0] not in ("api", "apis"):
        is_unknown_group = parts[0] == "apis" and group not in _BUILT_IN_GROUPS
        raise status.page_not_found() if is_unknown_group else status.no_such_resource()
    target = Target(resource, namespace, rest[1] if len(rest) > 1 else "", "/".join(rest[2:3]))
    if resource.is_custom:
        # `ServeHTTP` in `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go`
        is_wrong_scope = (target.name and not namespace) if resource.namespaced else namespace
        if is_wrong_scope:
            raise status.page_not_found()
        if target.sub and target.sub not in resource.subresources:
            raise status.not_found(resource.plural, target.name, resource.group)
    return target


async def read_body(request: web.Request) -> Any:
    """Read a request's body, JSON or YAML.

    Raises
    ------
    ApiError
        400 if it is neither. 415 for protobuf, which a few kubectl commands send (`kubectl create cronjob`).
    """
    data = await request.read()
    if "protobuf" in request.content_type:
        raise status.ApiError(
            415, "the sandbox reads only JSON and YAML: send the object as a manifest (kubectl create -f FILE)"
        )
    try:
        return orjson.loads(data) if data[:1] in (b"{", b"[") else yaml.safe_load(data)
    except (orjson.JSONDecodeError, yaml.YAMLError) as error:
        raise status.bad_request(
            f"the object provided is unrecognized (must be of type {request.content_type}): {error}"
        ) from error


def answer(obj: KubeObject, code: int = 200) -> web.Response:
    """Return a JSON response with an object."""
    return web.Response(
        body=orjson.dumps(obj) + b"\n",
        status=code,
        content_type="application/json",
        headers={"Cache-Control": "no-cache, private"},
    )


def _manager(request: web.Request) -> str:
    """Return the client's name for `managedFields`: its `fieldManager` parameter, else the first part of its user agent."""
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return request.query.get("fieldManager") or agent


def _check_name(obj: Any, target: Target) -> None:
    """Check that an object has the name that its path has (`checkName` in `endpoints/handlers/rest.go`).

    Raises
    ------
    ApiError
        400 if it has another.
    """
    name = (obj.get("metadata") or {}).get("name") if isinstance(obj, dict) else None
    if name and name != target.name:
        text = f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        raise status.bad_request(text)


def _key(obj: KubeObject) -> tuple[str, str]:
    """Return the key that orders an object in lists of its kind."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _encode_continue(version: int, start: tuple[str, str]) -> str:
    """Encode a continue token as the API server does (`staging/src/k8s.io/apiserver/pkg/storage/continue.go`)."""
    token = {"v": "meta.k8s.io/v1", "rv": version, "start": "/".join(start)}
    return base64.urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def _decode_continue(token: str) -> tuple[int, tuple[str, str]]:
    try:
        fields = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = fields["start"].partition("/")
        return int(fields["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise status.bad_request(f"invalid continue token: continue key is not valid: {error}") from error


class Api:
    """Answer requests about objects.

    Parameters
    ----------
    store, faults, config
        The sandbox's store, faults and settings.
    """

    def __init__(self, store: Store, faults: Faults, config: Config) -> None:
        self._store, self._faults, self._config = store, faults, config

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer one request about objects."""
        match request.method, bool(target.name):
            case "GET", True:
                obj = self._store.require(target.resource, target.namespace, target.name)
                represent = Representation(request, target.resource).object
                return answer(self._scale(obj) if target.sub == "scale" else represent(obj))
            case "GET", False:
                return await self._collection(request, target)
            case "POST", False:
                return await self._create(request, target)
            case (("PUT" | "PATCH"), True):
                return await self._change(request, target)
            case "DELETE", True:
                return await self._delete(request, target)
            case "DELETE", False:
                return await self._delete_all(request, target)
        raise status.ApiError(405, "the server does not allow this method on the requested resource", details={})

    # ------------------------------------------------------------ reading

    def _matcher(self, request: web.Request, target: Target) -> selectors.Matcher:
        labels = selectors.label_selector(request.query.get("labelSelector", ""))
        fields = selectors.field_selector(target.resource, request.query.get("fieldSelector", ""))
        space = target.namespace
        return lambda obj: space in ("", obj["metadata"].get("namespace")) and labels(obj) and fields(obj)

    async def _collection(self, request: web.Request, target: Target) -> web.StreamResponse:
        matches = self._matcher(request, target)
        if request.query.get("watch", "").lower() in ("true", "1"):
            return await Watch(self._store, self._faults, self._config, target.resource, matches).serve(request)
        page, meta = self._list(request, target, matches)
        return answer(Representation(request, target.resource).list(page, meta))

    def _list(
        self, request: web.Request, target: Target, matches: selectors.Matcher
    ) -> tuple[list[KubeObject], dict[str, Any]]:
        """Return one chunk of a list, and its metadata.

        Follows `GetList` in `staging/src/k8s.io/apiserver/pkg/storage/etcd3/store.go`: all chunks show the version of
        the first one, and `remainingItemCount` is set only for a list without selectors.
        """
        query, group_resource = request.query, target.resource.group_resource
        limit = int(query.get("limit") or 0)
        version, start = self._store.version, ("", "")
        if token := query.get("continue"):
            if query.get("resourceVersion", "0") not in ("", "0"):
                raise status.bad_request("specifying resource version is not allowed when using continue")
            version, start = _decode_continue(token)
        elif query.get("resourceVersion") == "0":
            limit = 0  # the watch cache answers, and it ignores the limit (`shouldDelegateList` in `cacher.go`)
        try:
            objects = self._store.select_at(version, group_resource, target.namespace) if version > 0 else None
        except status.ApiError as error:
            raise status.continue_expired(_encode_continue(-1, start)) from error
        if objects is None:  # the version expired: continue with the objects that exist now
            version, objects = self._store.version, self._store.select(group_resource, target.namespace)
        remaining = [obj for obj in objects if _key(obj) >= start and matches(obj)]
        page = remaining[:limit] if limit else remaining
        meta: KubeObject = {"resourceVersion": str(version)}
        if len(remaining) > len(page):
            meta["continue"] = _encode_continue(version, _key(remaining[len(page)]))
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                meta["remainingItemCount"] = len(remaining) - len(page)
        return page, meta

    @staticmethod
    def _scale(obj: KubeObject) -> KubeObject:
        meta = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
        replicas = obj["spec"].get("replicas", 1)
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": meta,
            "spec": {"replicas": replicas},
            "status": {"replicas": replicas},
        }

    # ------------------------------------------------------------ changing

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        obj = await read_body(request)
        resource, represent = target.resource, Representation(request, target.resource).object
        if resource.is_custom:
            if resource.namespaced and not target.namespace:
                raise status.page_not_found()
            definition = self._store.get(DEFINITIONS, "", resource.group_resource)
            if definition is not None and is_marked(definition):
                # `serveResource` in `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go`.
                # The API server refuses only until it has deleted the objects. If another finalizer keeps the definition
                # for longer, it accepts new objects and never deletes them.
                text = "create not allowed while custom resource definition is terminating"
                raise status.ApiError(405, text, details={"group": resource.group, "kind": resource.plural})
            customresources.check_type(resource, obj)
        if not isinstance(obj, dict) or obj.get("kind", resource.kind) != resource.kind:
            kind = obj.get("kind") if isinstance(obj, dict) else type(obj).__name__
            raise status.bad_request(f"the object provided is unrecognized: expected {resource.kind}, got {kind}")
        meta = obj.setdefault("metadata", {})
        if resource.namespaced:
            if meta.setdefault("namespace", target.namespace) != target.namespace:
                raise status.bad_request(
                    f"the namespace of the provided object does not match the namespace sent on the request ({meta['namespace']}, {target.namespace})",
                )
            if self._store.get("namespaces", "", target.namespace) is None:
                raise status.not_found("namespaces", target.namespace)
        else:
            meta.pop("namespace", None)
        for server_field in ("resourceVersion", "creationTimestamp", "managedFields", "selfLink"):
            meta.pop(server_field, None)
        meta["uid"] = new_uid()
        obj |= {"kind": resource.kind, "apiVersion": resource.api_version}
        defaults.validate_and_default(resource, obj)
        if resource.is_custom:
            # `PrepareForCreate` in `staging/src/k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go`
            meta["generation"] = 1
            if "status" in resource.subresources:
                obj.pop("status", None)
            customresources.prepare(resource, obj)
        elif resource.group_resource == DEFINITIONS:
            customresources.set_spec_defaults(obj)
            customresources.reset_status(obj)
            customresources.validate_definition(obj)
        dry_run = bool(request.query.get("dryRun"))
        created = self._store.create(resource, obj, manager=_manager(request), dry_run=dry_run)
        return answer(represent(created), 201)

    async def _change(self, request: web.Request, target: Target) -> web.Response:
        resource, represent = target.resource, Representation(request, target.resource).object
        sent = await read_body(request)
        if request.method == "PUT":
            _check_name(sent, target)
        old = self._store.require(resource, target.namespace, target.name)
        if request.method == "PATCH" and target.sub != "scale":
            converted = old | {"apiVersion": resource.api_version}
            new = patch.apply(converted, sent, request.content_type, is_custom=resource.is_custom)
            _check_name(new, target)
        elif target.sub == "scale":
            scaled: KubeObject = {"spec": {"replicas": sent["spec"]["replicas"]}}
            new = patch.apply(old, scaled, "application/merge-patch+json")
        else:
            new = sent
        if resource.is_custom:
            customresources.check_type(resource, new)
            customresources.prepare(resource, new)
            if not new.setdefault("metadata", {}).get("resourceVersion"):
                # `AllowUnconditionalUpdate` of custom resources is false.
                text = "Invalid value: 0x0: must be specified for an update"
                raise status.invalid(
                    resource.plural, target.name, "metadata.resourceVersion", text, group=resource.group
                )
        new |= {"kind": old["kind"], "apiVersion": old["apiVersion"]}
        immutable = ("name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds")
        new["metadata"] |= {k: old["metadata"][k] for k in immutable if k in old["metadata"]}
        # Only the subresource `status` changes the status, and it changes nothing else.
        if target.sub == "status":
            # The status of a built-in kind always exists.
            changed = {"status": new.get("status", {})} if not resource.is_custom or "status" in new else {}
            meta = old["metadata"] | {"resourceVersion": new["metadata"].get("resourceVersion")}
            new = {k: v for k, v in old.items() if k != "status"} | changed | {"metadata": meta}
        elif "status" in resource.subresources:
            new.pop("status", None)
            new |= {"status": old["status"]} if "status" in old else {}
        if new["metadata"].get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise status.conflict(resource.plural, target.name, resource.group)
        self._default_and_validate_change(resource, old, new)
        result = self._store.update(new, manager=_manager(request), resource=resource)
        finalize(self._store, result)
        return answer(self._scale(result) if target.sub == "scale" else represent(result))

    @staticmethod
    def _default_and_validate_change(resource: Resource, old: KubeObject, new: KubeObject) -> None:
        if resource.group_resource == DEFINITIONS:
            customresources.set_spec_defaults(new)
            customresources.validate_changed_definition(old, new)
        if (
            resource.group_resource == "jobs.batch"
            and new["spec"].get("template") != old["spec"].get("template")
            and not old["spec"].get("suspend")
        ):
            text = "Invalid value: the template of a Job that has begun: field is immutable"
            raise status.invalid("Job", old["metadata"]["name"], "spec.template", text, group="batch")

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        resource = target.resource
        obj = self._store.require(resource, target.namespace, target.name)
        grace, orphan = await self._delete_options(request, target)
        marked = delete(self._store, obj, grace, orphan=orphan)
        meta = obj["metadata"]
        if marked or resource.group_resource == "pods":
            return answer(Representation(request, resource).object(marked or obj))
        return answer(status.success(resource.plural, meta["name"], meta["uid"], resource.group))

    async def _delete_all(self, request: web.Request, target: Target) -> web.Response:
        matches = self._matcher(request, target)
        grace, orphan = await self._delete_options(request, target)
        objects = self._store.select(target.resource.group_resource, target.namespace)
        deleted = [obj for obj in objects if matches(obj)]
        for obj in deleted:
            delete(self._store, obj, grace, orphan=orphan)
        return answer(Representation(request, target.resource).list(deleted, {}))

    async def _delete_options(self, request: web.Request, target: Target) -> tuple[float | None, bool]:
        options = (await read_body(request) if request.can_read_body else None) or {}
        grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        policy = options.get("propagationPolicy", request.query.get("propagationPolicy"))
        orphans = options.get("orphanDependents", request.query.get("orphanDependents"))
        # Without a policy, deleting a Job orphans its pods (`pkg/registry/batch/job/strategy.go`, DefaultGarbageCollectionPolicy).
        is_default = target.resource.group_resource == "jobs.batch" and policy is None and orphans is None
        is_orphan = policy == "Orphan" or str(orphans).lower() == "true" or is_default
        return None if grace is None else float(grace), is_orphan
