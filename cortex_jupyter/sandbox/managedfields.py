"""`metadata.managedFields`: which manager set which field. It makes up a third to a half of a real object.

The format is that of Server-Side Apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management):
an entry for each manager, with its fields as a tree. Unlike in the API server, a manager keeps a field that another
manager changes, because the sandbox resolves no conflicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject

#: The key fields of lists with keyed items (`listMapKey` in `staging/src/k8s.io/api/core/v1/types.go`). Any other list
#: counts as one field.
_LIST_KEYS = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostIPs": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
#: Maps and structures that count as one field (`+mapType=atomic`, `+structType=atomic`).
_ATOMIC = frozenset(
    {"nodeSelector", "selector", "fieldRef", "secretKeyRef", "configMapKeyRef", "matchLabels", "lastState", "state"}
)
#: Structures that always exist, so that their existence has no manager.
_ALWAYS = frozenset({"metadata", "spec", "status", "template", "containers", "involvedObject", "source"})
#: Fields without a manager.
_UNMANAGED = frozenset({"kind", "apiVersion"})
_UNMANAGED_METADATA = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
)


def created(obj: KubeObject, manager: str, at: str) -> list[KubeObject]:
    """Return the `managedFields` of a new object: its creator manages all fields."""
    return [_entry(obj, manager, at, "", _fields({}, obj, ""))]


def updated(old: KubeObject, new: KubeObject, manager: str, at: str) -> list[KubeObject]:
    """Return the `managedFields` of an object after a change.

    The manager gets the fields that differ; fields that were removed leave all entries. An empty `manager` gets none.

    Examples
    --------
    >>> job = {"apiVersion": "batch/v1", "metadata": {"name": "x"}, "spec": {"suspend": True}}
    >>> entry, = updated(job, job | {"spec": {"suspend": False}}, "kubectl-edit", "2026-01-01T00:00:00Z")
    >>> entry["fieldsV1"]
    {'f:spec': {'f:suspend': {}}}
    """
    entries: list[KubeObject] = [
        entry | {"fieldsV1": _without_removed(entry["fieldsV1"], old, new)}
        for entry in old["metadata"].get("managedFields") or []
    ]
    fields = _fields(old, new, "")
    if not fields or not manager:
        return entries
    sub = "status" if set(fields) == {"f:status"} else ""
    for index, entry in enumerate(entries):
        if (entry["manager"], entry.get("subresource", "")) == (manager, sub):
            entries[index] = _entry(new, manager, at, sub, _merge(entry["fieldsV1"], fields))
            return entries
    return [*entries, _entry(new, manager, at, sub, fields)]


def _entry(obj: KubeObject, manager: str, at: str, sub: str, fields: KubeObject) -> KubeObject:
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": obj["apiVersion"],
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return entry | ({"subresource": sub} if sub else {})


def _fields(old: KubeObject, new: KubeObject, parent: str) -> KubeObject:
    """Return the tree of the fields of `new` that `old` does not have or has with another value."""
    unmanaged = _UNMANAGED_METADATA if parent == "metadata" else _UNMANAGED if not parent else ()
    tree: KubeObject = {}
    for name, value in new.items():
        if name in unmanaged or (not parent and value is None) or (name in old and old[name] == value):
            continue
        inner = _value(old.get(name), value, name) if isinstance(value, (dict, list)) else {}
        if inner or name != "metadata":
            tree[f"f:{name}"] = inner
    return tree


def _value(old: Any, new: KubeObject | list[Any], name: str) -> KubeObject:
    if name in _ATOMIC or not new:
        return {}
    keys = _LIST_KEYS.get(name)
    if isinstance(new, list) and keys and all(isinstance(item, dict) for item in new):
        old_items = {_key(item, keys): item for item in old or []}
        tree: KubeObject = {} if old or name in _ALWAYS else {".": {}}
        for item in new:
            key = _key(item, keys)
            if old_items.get(key) != item:
                tree[key] = ({} if key in old_items else {".": {}}) | _fields(old_items.get(key) or {}, item, name)
        return tree
    if isinstance(new, list):
        return {}
    existence: KubeObject = {} if old or name in _ALWAYS else {".": {}}
    return existence | _fields(old if isinstance(old, dict) else {}, new, name)


def _key(item: KubeObject, keys: tuple[str, ...]) -> str:
    return "k:" + orjson.dumps({key: item[key] for key in keys if key in item}).decode()


def _merge(tree: KubeObject, more: KubeObject) -> KubeObject:
    return tree | {name: _merge(tree.get(name, {}), fields) for name, fields in more.items()}


def _without_removed(tree: KubeObject, old: Any, new: Any) -> KubeObject:
    """Return a tree without the fields that `new` no longer has."""
    if old == new or not tree or new is None:
        return tree
    inner_old, inner_new = _by_name(tree, old), _by_name(tree, new)
    return {k: _without_removed(v, inner_old.get(k), inner_new[k]) for k, v in tree.items() if k in inner_new}


def _by_name(tree: KubeObject, value: Any) -> KubeObject:
    """Return the parts of a value, keyed by their names in a tree."""
    named: KubeObject = {".": None}
    if isinstance(value, dict):
        named |= {f"f:{name}": inner for name, inner in value.items()}
    elif isinstance(value, list):
        named |= {key: item for key in tree if key != "." for item in value if _has_key(item, key)}
    return named


def _has_key(item: KubeObject, key: str) -> bool:
    """Whether an item of a list is the one with the key `k:{...}`."""
    return all(item.get(name) == value for name, value in orjson.loads(key[2:]).items())
