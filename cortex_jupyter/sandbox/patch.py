"""The patch formats of the API, as far as manifests need them.

JSON merge patch is RFC 7386, JSON patch RFC 6902. A strategic merge patch is a merge patch that merges some lists
item by item, by a key (`patchMergeKey` in `staging/src/k8s.io/api/core/v1/types.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.objects import copy
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject

#: The media types of patches: of custom objects, and of all others.
_CUSTOM_FORMATS = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_FORMATS = (*_CUSTOM_FORMATS, "application/strategic-merge-patch+json")
#: The lists that a strategic merge patch merges, and the field that tells which items are the same.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "conditions": "type",
    "ownerReferences": "uid",
}


def apply(obj: KubeObject, patch: Any, content_type: str, *, is_custom: bool = False) -> KubeObject:
    """Return a patched copy of an object.

    Parameters
    ----------
    obj : dict
        The current object.
    patch : dict or list
        The body of the request.
    content_type : str
        Media type that names the patch format.
    is_custom : bool
        Whether it is a custom object: its lists have no keys, so a strategic merge patch is refused
        (`supportedTypes` in `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go`).

    Raises
    ------
    ApiError
        415 for an unknown format, 422 if the patch does not apply.
    """
    if is_custom and content_type not in _CUSTOM_FORMATS:
        formats = ", ".join(_CUSTOM_FORMATS)
        text = f"the body of the request was in an unknown format - accepted media types include: {formats}"
        raise ApiError(415, text)
    if content_type not in _FORMATS:
        raise ApiError(415, "415: Unsupported Media Type", details={})
    if content_type == "application/json-patch+json":
        return _json_patch(copy(obj), patch)
    strategic = content_type != "application/merge-patch+json" and not is_custom
    merged: KubeObject = _merge(copy(obj), patch, strategic=strategic)
    return merged


def _merge(target: Any, patch: Any, *, strategic: bool) -> Any:
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            target.pop(name, None)
        elif (
            strategic
            and isinstance(value, list)
            and (key := _KEYS.get(name))
            and all(isinstance(v, dict) for v in value)
        ):
            target[name] = _merge_list(target.get(name) or [], value, key)
        else:
            target[name] = _merge(target.get(name), value, strategic=strategic)
    return target


def _merge_list(target: list[KubeObject], patch: list[KubeObject], key: str) -> list[KubeObject]:
    merged = {item.get(key): item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item.get(key)] = _merge(merged.get(item.get(key)), item, strategic=True)
    return list(merged.values())


def _json_patch(obj: KubeObject, operations: list[KubeObject]) -> KubeObject:
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        try:
            container: Any = obj
            for part in parents:
                container = container[int(part)] if isinstance(container, list) else container[part]
            _operate(container, last, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            # `applyPatch` in `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go`; the message does not say why.
            text = "the server rejected our request due to an error in our request"
            raise ApiError(422, text, details={}) from error
    return obj


def _operate(container: Any, last: str, operation: KubeObject) -> None:
    match operation["op"], isinstance(container, list):
        case "add", True:
            container.insert(len(container) if last == "-" else int(last), operation["value"])
        case ("add", False):
            container[last] = operation["value"]
        case "replace", is_list:
            container[int(last) if is_list else last] = operation["value"]
        case "remove", is_list:
            del container[int(last) if is_list else last]
        case "test", is_list:
            if container[int(last) if is_list else last] != operation["value"]:
                raise ValueError("test failed")
        case unknown, _:
            raise ValueError(f"{unknown} is not supported")
