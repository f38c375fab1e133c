"""The patch formats of the API, reduced to what manifests need.

JSON merge patch is RFC 7386, JSON patch RFC 6902. A strategic merge patch is a merge patch whose lists of
named things are merged by their key (`patchMergeKey` in `staging/src/k8s.io/api/core/v1/types.go`).
"""

from __future__ import annotations

from typing import Any

from cortex_jupyter.sandbox.objects import copy
from cortex_jupyter.sandbox.status import ApiError, bad_request

Object = dict[str, Any]

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


def apply(obj: Object, patch: Any, content_type: str) -> Object:
    """Give a patched copy.

    Parameters
    ----------
    obj : dict
        The object as it is.
    patch : dict or list
        The body.
    content_type : str
        Which format it is in.

    Raises
    ------
    ApiError
        415 for another format, 400 where the patch does not fit.
    """
    if content_type == "application/json-patch+json":
        return _json_patch(copy(obj), patch)
    if content_type not in (
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ):
        text = f'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json; got "{content_type}"'
        raise ApiError(415, text)
    merged: Object = _merge(copy(obj), patch, strategic=content_type != "application/merge-patch+json")
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


def _merge_list(target: list[Object], patch: list[Object], key: str) -> list[Object]:
    merged = {item.get(key): item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item.get(key)] = _merge(merged.get(item.get(key)), item, strategic=True)
    return list(merged.values())


def _json_patch(obj: Object, operations: list[Object]) -> Object:
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        try:
            here: Any = obj
            for part in parents:
                here = here[int(part)] if isinstance(here, list) else here[part]
            _operate(here, last, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise bad_request(
                f"the server rejected our request due to an error in our request: {operation['path']}: {error}"
            ) from error
    return obj


def _operate(here: Any, last: str, operation: Object) -> None:
    match operation["op"], isinstance(here, list):
        case "add", True:
            here.insert(len(here) if last == "-" else int(last), operation["value"])
        case ("add", False):
            here[last] = operation["value"]
        case "replace", listed:
            here[int(last) if listed else last] = operation["value"]
        case "remove", listed:
            del here[int(last) if listed else last]
        case "test", listed:
            if here[int(last) if listed else last] != operation["value"]:
                raise ValueError("test failed")
        case other, _:
            raise ValueError(f"{other} is not supported")
