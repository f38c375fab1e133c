"""Label and field selectors of lists and watches.

The grammar is that of `staging/src/k8s.io/apimachinery/pkg/labels/selector.go`. Pods and events have the field labels that
`pkg/apis/core/v1/conversion.go` allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cortex_jupyter.cluster import KubeObject
from cortex_jupyter.sandbox.status import bad_request

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.resources import Resource

Matcher = Callable[[KubeObject], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|!=|=)\s*([^=!\s]*)$")
_EXISTS = re.compile(r"^(!?)\s*([A-Za-z0-9][-A-Za-z0-9_./]*)$")

#: Fields that selectors of every resource may use, and further ones by resource.
_COMMON = ("metadata.name", "metadata.namespace")
_FIELDS = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
    "events": (
        *(
            f"involvedObject.{x}"
            for x in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        ),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "jobs.batch": ("status.successful",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
}


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(text):
        key, operator, values = match[1], match[2], {v.strip() for v in match[3].split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.match(text):
        key, value, equal = match[1], match[3], match[2] != "!="
        return lambda labels: (labels.get(key) == value) is equal
    if match := _EXISTS.match(text):
        key, is_required = match[2], not match[1]
        return lambda labels: (key in labels) is is_required
    raise bad_request(f"unable to parse requirement: {text}")


def label_selector(text: str) -> Matcher:
    """Compile a `labelSelector` parameter.

    Parameters
    ----------
    text : str
        A selector such as `app=x,tier in (a, b),!canary`; an empty one matches everything.

    Raises
    ------
    ApiError
        400 if a requirement cannot be parsed.

    Examples
    --------
    >>> matches = label_selector("app=x,tier notin (a, b)")
    >>> matches({"metadata": {"labels": {"app": "x", "tier": "c"}}})
    True
    """
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    tests = [_requirement(part) for part in parts]

    def matches(obj: KubeObject) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _value(obj: KubeObject, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, dict):  # an event's `source` compares by its component
        value = value.get("component")
    return "" if value is None else str(value)


def field_selector(resource: Resource, text: str) -> Matcher:
    """Compile a `fieldSelector` parameter for one resource.

    Parameters
    ----------
    resource : Resource
        The resource; it decides which fields a selector may use. For custom resources these are name and namespace
        (`ConvertFieldLabel` in `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/converter.go`).
    text : str
        A selector such as `metadata.name=x,status.phase!=Running`.

    Raises
    ------
    ApiError
        400 for a field that the resource does not index, worded as the API server does.
    """
    tests: list[Matcher] = []
    common = _COMMON if resource.namespaced or not resource.is_custom else _COMMON[:1]
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = _EQUAL.match(part)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, value, equal = match[1], match[3], match[2] != "!="
        if path not in common + _FIELDS.get(resource.group_resource, ()):
            raise bad_request(f"field label not supported: {path}")
        tests.append(lambda obj, path=path, value=value, equal=equal: (_value(obj, path) == value) is equal)  # type: ignore[misc]
    return lambda obj: all(test(obj) for test in tests)
