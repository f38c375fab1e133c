"""`metadata.managedFields`: who set which field, which makes up a third to a half of a real object.

The form is that of Server-Side Apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management):
an entry for each manager, its fields as a tree. Ownership is not taken away again when another manager changes a field,
which the API server does; nobody here resolves conflicts by it.
"""

from __future__ import annotations

from typing import Any

import orjson

Object = dict[str, Any]

#: Lists whose items are known by some of their fields (`listMapKey` in `staging/src/k8s.io/api/core/v1/types.go`); all
#: others are one field.
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
#: Maps and structures that are one field (`+mapType=atomic`, `+structType=atomic`).
_ATOMIC = frozenset(
    {"nodeSelector", "selector", "fieldRef", "secretKeyRef", "configMapKeyRef", "matchLabels", "lastState", "state"}
)
#: Structures that are always there, so that nobody owns that they are.
_ALWAYS = frozenset({"metadata", "spec", "status", "template", "containers", "involvedObject", "source"})
_NOBODYS = frozenset({"kind", "apiVersion"})
_NOBODYS_METADATA = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
)


def created(obj: Object, manager: str, at: str) -> list[Object]:
    """Return the `managedFields` of a new object: all that was sent is its creator's."""
    return [_entry(obj, manager, at, "", _fields({}, obj, ""))]


def updated(old: Object, new: Object, manager: str, at: str) -> list[Object]:
    """Return the `managedFields` of an object after a change: what differs is its manager's, what is gone nobody's.

    An empty `manager` owns nothing.

    Examples
    --------
    >>> job = {"apiVersion": "batch/v1", "metadata": {"name": "x"}, "spec": {"suspend": True}}
    >>> entry, = updated(job, job | {"spec": {"suspend": False}}, "kubectl-edit", "2026-01-01T00:00:00Z")
    >>> entry["fieldsV1"]
    {'f:spec': {'f:suspend': {}}}
    """
    entries: list[Object] = [
        entry | {"fieldsV1": _kept(entry["fieldsV1"], old, new)} for entry in old["metadata"].get("managedFields") or []
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


def _entry(obj: Object, manager: str, at: str, sub: str, fields: Object) -> Object:
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": obj["apiVersion"],
        "time": at,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return entry | ({"subresource": sub} if sub else {})


def _fields(old: Object, new: Object, within: str) -> Object:
    """Return the tree of the fields of `new` that `old` has not, or has otherwise."""
    nobodys = _NOBODYS_METADATA if within == "metadata" else _NOBODYS if not within else ()
    tree: Object = {}
    for name, value in new.items():
        if name in nobodys or (not within and value is None) or (name in old and old[name] == value):
            continue
        inner = _value(old.get(name), value, name) if isinstance(value, (dict, list)) else {}
        if inner or name != "metadata":
            tree[f"f:{name}"] = inner
    return tree


def _value(old: Any, new: Object | list[Any], name: str) -> Object:
    if name in _ATOMIC or not new:
        return {}
    keys = _LIST_KEYS.get(name)
    if isinstance(new, list) and keys and all(isinstance(item, dict) for item in new):
        before = {_key(item, keys): item for item in old or []}
        tree: Object = {} if old or name in _ALWAYS else {".": {}}
        for item in new:
            key = _key(item, keys)
            if before.get(key) != item:
                tree[key] = ({} if key in before else {".": {}}) | _fields(before.get(key) or {}, item, name)
        return tree
    if isinstance(new, list):
        return {}
    own: Object = {} if old or name in _ALWAYS else {".": {}}
    return own | _fields(old if isinstance(old, dict) else {}, new, name)


def _key(item: Object, keys: tuple[str, ...]) -> str:
    return "k:" + orjson.dumps({key: item[key] for key in keys if key in item}).decode()


def _merge(tree: Object, more: Object) -> Object:
    return tree | {name: _merge(tree.get(name, {}), fields) for name, fields in more.items()}


def _kept(tree: Object, old: Any, new: Any) -> Object:
    """Return what is left of a tree when the fields that `new` no longer has are taken out."""
    if old == new or not tree or new is None:
        return tree
    inner_old, inner_new = _by_name(tree, old), _by_name(tree, new)
    return {k: _kept(v, inner_old.get(k), inner_new[k]) for k, v in tree.items() if k in inner_new}


def _by_name(tree: Object, value: Any) -> Object:
    """Return the parts of a value by the names that a tree has for them."""
    named: Object = {".": None}
    if isinstance(value, dict):
        named |= {f"f:{name}": inner for name, inner in value.items()}
    elif isinstance(value, list):
        named |= {key: item for key in tree if key != "." for item in value if _is(item, key)}
    return named


def _is(item: Object, key: str) -> bool:
    """Whether an item of a list is the one that `k:{...}` names."""
    return all(item.get(name) == value for name, value in orjson.loads(key[2:]).items())
