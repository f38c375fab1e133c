"""Custom resources: their definitions, and the rules of their objects.

The definitions follow `staging/src/k8s.io/apiextensions-apiserver` in kubernetes/kubernetes: defaults
(`pkg/apis/apiextensions/v1/defaults.go`), validation (`pkg/apis/apiextensions/validation`), the controllers of names and
deletion (`pkg/controller/status`, `pkg/controller/finalizer`). Unlike the API server, the sandbox does not check objects
against their schema and supports neither conversion webhooks nor the `scale` subresource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.sandbox import deletion
from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.resources import DEFINITIONS, Resource
from cortex_jupyter.sandbox.status import ApiError, bad_request, invalid

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.objects import Change, Store


#: Field manager of the changes that the controllers of definitions make; they run in the API server.
_MANAGER = "kube-apiserver"
#: Names that must be unique in a group: each field of `spec.names`, and the reason of the condition when it is taken.
#: Plurals, singulars and short names share one space, kinds and list kinds another.
_NAMES = {
    "plural": "PluralConflict",
    "singular": "SingularConflict",
    "shortNames": "ShortNamesConflict",
    "kind": "KindConflict",
    "listKind": "ListKindConflict",
}
_KINDS = ("kind", "listKind")
#: A definition in these groups needs the consent of the Kubernetes project (`IsProtectedCommunityGroup`).
_PROTECTED = ("k8s.io", "kubernetes.io")
_APPROVAL = "api-approved.kubernetes.io"


# ---------------------------------------------------------------- definitions


def set_spec_defaults(crd: KubeObject) -> None:
    """Set the defaults of a definition's spec in place (`SetDefaults_CustomResourceDefinitionSpec`)."""
    spec = crd["spec"] = crd.get("spec") or {}
    names = spec["names"] = spec.get("names") or {}
    if kind := names.get("kind"):
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def reset_status(crd: KubeObject) -> None:
    """Set the status and the generation of a new definition in place, whatever the client sent (`PrepareForCreate`)."""
    crd["metadata"]["generation"] = 1
    stored = [v.get("name", "") for v in crd["spec"].get("versions") or [] if v.get("storage")]
    crd["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def validate_definition(crd: KubeObject) -> None:
    """Check a new definition, which has the defaults of its spec (`ValidateCustomResourceDefinition`).

    Raises
    ------
    ApiError
        422 with the first problem; the API server lists all of them.
    """
    name, names = crd["metadata"]["name"], crd["spec"]["names"]
    if name != f"{names.get('plural', '')}.{crd['spec'].get('group', '')}":
        raise _refusal(crd, "metadata.name", f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group')
    _validate_spec(crd)


def validate_changed_definition(old: KubeObject, new: KubeObject) -> None:
    """Check a changed definition, which has the defaults of its spec (`ValidateCustomResourceDefinitionUpdate`).

    Raises
    ------
    ApiError
        422 with the first problem; the API server lists all of them.
    """
    _validate_spec(new)
    immutable = ["group", "names.plural"]
    if any(c["type"] == "Established" and c["status"] == "True" for c in old["status"]["conditions"] or []):
        immutable = ["scope", "names.kind", *immutable]
    for field in immutable:
        value_before, value = old["spec"], new["spec"]
        for part in field.split("."):
            value_before, value = value_before[part], value.get(part, "")
        if value != value_before:
            raise _refusal(new, f"spec.{field}", f'Invalid value: "{value}": field is immutable')


def _refusal(crd: KubeObject, field: str, problem: str, cause: str = "FieldValueInvalid") -> ApiError:
    name = crd["metadata"]["name"]
    return invalid("CustomResourceDefinition", name, field, problem, cause, group="apiextensions.k8s.io")


def _validate_spec(crd: KubeObject) -> None:
    spec, names, group = crd["spec"], crd["spec"]["names"], crd["spec"].get("group", "")
    is_protected = any(group == root or group.endswith(f".{root}") for root in _PROTECTED)
    if is_protected and not (crd["metadata"].get("annotations") or {}).get(_APPROVAL):
        problem = f'Required value: protected groups must have approval annotation "{_APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111'
        raise _refusal(crd, f"metadata.annotations[{_APPROVAL}]", problem, "FieldValueRequired")
    if not spec.get("scope"):
        raise _refusal(crd, "spec.scope", "Required value", "FieldValueRequired")
    if spec["scope"] not in ("Namespaced", "Cluster"):
        problem = f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"'
        raise _refusal(crd, "spec.scope", problem, "FieldValueNotSupported")
    versions = spec.get("versions") or []
    if sum(bool(v.get("storage")) for v in versions) != 1:
        problem = "Invalid value: must have exactly one version marked as storage version"
        raise _refusal(crd, "spec.versions", problem)
    for index, version in enumerate(versions):
        if not version.get("name"):
            raise _refusal(crd, f"spec.versions[{index}].name", "Required value", "FieldValueRequired")
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            raise _refusal(crd, field, "Required value: schemas are required", "FieldValueRequired")
    for field in ("singular", "kind", "listKind"):
        if not names.get(field):
            raise _refusal(crd, f"spec.names.{field}", "Required value", "FieldValueRequired")


def _versions(crd: KubeObject) -> list[Resource]:
    """Return the resource of each version of an established definition."""
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            short=tuple(names.get("shortNames") or ()),
            namespaced=spec["scope"] == "Namespaced",
            categories=tuple(names.get("categories") or ()),
            subresources=("status",) if "status" in (version.get("subresources") or {}) else (),
            singular=names["singular"],
            list_kind=names["listKind"],
            is_custom=True,
            is_served=bool(version.get("served")),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            schema=version["schema"]["openAPIV3Schema"],
        )
        for version in spec["versions"]
    ]


class Definitions:
    """The controllers of definitions: they accept names, serve the resources, and delete the objects with the definition.

    They act within the change itself, so that a resource is served as soon as the answer to its definition arrives.

    Parameters
    ----------
    store : Store
        The cluster.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deleting: set[str] = set()
        store.listen(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.group_resource == DEFINITIONS:
            if change.new is None:
                self._store.resources.withdraw(change.object["metadata"]["name"])
                self._reconsider(change.object["spec"]["group"])
            elif deletion.is_marked(change.new):
                self._delete_objects(change.new)
            else:
                self._establish(change.new)
        elif change.new is None:
            crd = self._store.get(DEFINITIONS, "", change.group_resource)
            if crd is not None and deletion.is_marked(crd):
                self._delete_objects(crd)

    def _reconsider(self, group: str) -> None:
        """Check the other definitions of a group: a name that one of them requests may be free now."""
        for crd in self._store.select(DEFINITIONS):
            if crd["spec"]["group"] == group and not deletion.is_marked(crd):
                self._establish(crd)

    def _establish(self, crd: KubeObject) -> None:
        """Accept the names that a definition requests, and serve its resource."""
        new = copy(crd)
        status = new["status"]
        accepted, reason, message = self._accept_names(new)
        conditions = {c["type"]: c for c in status.get("conditions") or []}
        is_established = conditions.get("Established", {}).get("status") == "True"
        _set_condition(conditions, "NamesAccepted", reason, message, status=not reason.endswith("Conflict"))
        if not is_established and reason == "NoConflicts":
            is_established = True
            message = "the initial names have been accepted"
            _set_condition(conditions, "Established", "InitialNamesAccepted", message, status=True)
        elif not is_established:
            _set_condition(conditions, "Established", "NotAccepted", "not all names are accepted", status=False)
        stored = [v["name"] for v in new["spec"]["versions"] if v.get("storage")]
        status["storedVersions"] = list(dict.fromkeys([*(status.get("storedVersions") or ()), *stored]))
        # Categories need not be unique, so what the spec requests replaces what was accepted before.
        accepted.pop("categories", None)
        if categories := new["spec"]["names"].get("categories"):
            accepted["categories"] = categories
        status |= {"acceptedNames": accepted, "conditions": list(conditions.values())}
        if is_established:
            self._store.resources.serve(crd["metadata"]["name"], _versions(new))
        if new != crd:
            self._store.update(new, manager=_MANAGER)

    def _accept_names(self, crd: KubeObject) -> tuple[KubeObject, str, str]:
        """Return the accepted names, and reason and message of the condition `NamesAccepted`.

        See `calculateNamesAndConditions` in `pkg/controller/status/naming_controller.go`.
        """
        spec, accepted = crd["spec"], dict(crd["status"]["acceptedNames"])
        used_names: dict[bool, set[str]] = {True: set(), False: set()}
        for definition in self._store.select(DEFINITIONS):
            if (
                definition["spec"]["group"] == spec["group"]
                and definition["metadata"]["name"] != crd["metadata"]["name"]
            ):
                for field in _NAMES:
                    used_names[field in _KINDS].update(_as_list(definition["status"]["acceptedNames"].get(field)))
        reason, message = "NoConflicts", "no conflicts found"
        for field, conflict_reason in _NAMES.items():
            requested = spec["names"].get(field)
            if conflicts := [name for name in _as_list(requested) if name in used_names[field in _KINDS]]:
                texts = [f'"{name}" is already in use' for name in conflicts]
                reason, message = conflict_reason, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
            elif requested:
                accepted[field] = requested
            else:
                accepted.pop(field, None)
        return accepted, reason, message

    def _delete_objects(self, crd: KubeObject) -> None:
        """Delete the objects of a definition, and then finalize it (`pkg/controller/finalizer/crd_finalizer.go`).

        The definition stays while it has another finalizer.
        """
        name, finalizers = crd["metadata"]["name"], crd["metadata"].get("finalizers") or []
        # The deletion of an object comes back here, as does the update of the definition below.
        if name in self._deleting or deletion.CLEANUP not in finalizers:
            return
        self._deleting.add(name)
        try:
            for obj in self._store.select(name):
                deletion.delete(self._store, obj)
        finally:
            self._deleting.discard(name)
        if not self._store.select(name):
            new = copy(crd)
            new["metadata"]["finalizers"] = [f for f in finalizers if f != deletion.CLEANUP]
            conditions = {c["type"]: c for c in new["status"]["conditions"]}
            reason, message = "InstanceDeletionCompleted", "removed all instances"
            _set_condition(conditions, "Terminating", reason, message, status=False)
            new["status"]["conditions"] = list(conditions.values())
            deletion.finalize(self._store, self._store.update(new, manager=_MANAGER))


def _as_list(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else names or []


def _set_condition(conditions: dict[str, KubeObject], kind: str, reason: str, message: str, *, status: bool) -> None:
    value = "True" if status else "False"
    old = conditions.get(kind) or {}
    since = old["lastTransitionTime"] if old.get("status") == value else now()
    new = {"type": kind, "status": value, "lastTransitionTime": since, "reason": reason, "message": message}
    conditions[kind] = new


# ---------------------------------------------------------------- objects


def check_type(resource: Resource, obj: Any) -> None:
    """Check kind and version of a custom object that a client sent.

    Raises
    ------
    ApiError
        400 if the kind is missing or the version is not that of the path (`schemaCoercingDecoder` and `scope.Kind` in
        `pkg/apiserver/customresource_handler.go`). 422 for another kind (`customResourceValidator.Validate`).
    """
    if not isinstance(obj, dict):
        raise bad_request(f"the object provided is unrecognized: expected {resource.kind}, got {type(obj).__name__}")
    if not obj.get("kind"):
        text = f"unmarshalerDecoder: Object 'Kind' is missing in '{orjson.dumps(obj).decode()}'"
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {text}'
        )
    # The decoder of unstructured objects requires only the kind (`json.go` in `runtime/serializer/json`).
    version = obj.get("apiVersion") or ""
    if version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if obj["kind"] != resource.kind:
        problem = f'Invalid value: "{obj["kind"]}": must be {resource.kind}'
        name = (obj.get("metadata") or {}).get("name", "")
        raise invalid(obj["kind"], name, "kind", problem, group=resource.group)


def prepare(resource: Resource, obj: KubeObject) -> None:
    """Set the defaults of a custom object's schema, and remove in place the fields that the schema does not have.

    See `pkg/apiserver/schema/pruning/algorithm.go` and `pkg/apiserver/schema/defaulting/algorithm.go`.
    """
    _prune(obj, resource.schema, keep=("apiVersion", "kind", "metadata"))
    _set_defaults(obj, resource.schema)


def _prune(value: Any, schema: KubeObject, keep: tuple[str, ...] = ()) -> None:
    if isinstance(value, list):
        for item in value:
            _prune(item, schema.get("items") or {})
    if not isinstance(value, dict):
        return
    if schema.get("x-kubernetes-embedded-resource"):
        keep = ("apiVersion", "kind", "metadata")
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in [name for name in value if name not in keep]:
        if name in properties:
            _prune(value[name], properties[name])
        elif isinstance(additional, dict):
            _prune(value[name], additional)
        elif not additional and not schema.get("x-kubernetes-preserve-unknown-fields"):
            del value[name]


def _set_defaults(value: Any, schema: KubeObject) -> None:
    if isinstance(value, list):
        for item in value:
            _set_defaults(item, schema.get("items") or {})
    if not isinstance(value, dict):
        return
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, inner in properties.items():
        if name not in value and "default" in inner:
            value[name] = copy(inner["default"])
    for name, item in value.items():
        if name in properties:
            _set_defaults(item, properties[name])
        elif isinstance(additional, dict):
            _set_defaults(item, additional)
