"""The representations of objects in answers: as they are, as the Table of `kubectl get`, or only their metadata.

The columns of built-in kinds come from `pkg/printers/internalversion/printers.go`, without the wide ones.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.sandbox.deletion import is_marked
from cortex_jupyter.sandbox.resources import DEFINITIONS
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aiohttp import web

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.resources import Resource


def _age(obj: KubeObject, stamp: str | None = None) -> str:
    stamp = stamp or obj["metadata"]["creationTimestamp"]
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 120)):
        if seconds >= size:
            return f"{seconds // (60 if unit == 'm' else size)}{unit}"
    return f"{max(0, seconds)}s"


def _reason(pod: KubeObject) -> str:
    """Return the text of the STATUS column: the reason of the first container that keeps the pod from running."""
    status = pod["status"]
    if is_marked(pod) and status.get("phase") not in ("Succeeded", "Failed"):
        return "Terminating"
    inits = status.get("initContainerStatuses") or []
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    for index, container in enumerate(inits):
        state = container["state"]
        if state.get("terminated", {}).get("exitCode") == 0 or (container["name"] in sidecars and container["started"]):
            continue
        details = state.get("terminated") or state.get("waiting") or {}
        reason = details.get("reason", "")
        return f"Init:{index}/{len(inits)}" if reason in ("", "PodInitializing") else f"Init:{reason}"
    mains = status.get("containerStatuses") or []
    states = [c["state"].get("waiting") or c["state"].get("terminated") or {} for c in mains]
    reason = next((str(state["reason"]) for state in states if state.get("reason")), "")
    if reason == "Completed" and any(c["ready"] and "running" in c["state"] for c in mains):
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        return "Running" if is_ready else "NotReady"
    return reason or str(status.get("reason") or status.get("phase", "Unknown"))


def _pod(pod: KubeObject) -> list[object]:
    reason, status = _reason(pod), pod["status"]
    inits, states = status.get("initContainerStatuses") or [], status.get("containerStatuses") or []
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    counted = [*(inits if reason.startswith("Init:") else [s for s in inits if s["name"] in sidecars])]
    counted += [] if reason.startswith("Init:") else states
    ready = sum(s["ready"] and "running" in s["state"] for s in counted if s in states or s["name"] in sidecars)
    total = len(pod["spec"]["containers"]) + len(sidecars)
    return [pod["metadata"]["name"], f"{ready}/{total}", reason, sum(s["restartCount"] for s in counted), _age(pod)]


def _job(job: KubeObject) -> list[object]:
    spec, status = job["spec"], job.get("status") or {}
    kinds = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    state = next((k for k in ("Complete", "Failed", "Suspended") if k in kinds), "Running")
    done = f"{status.get('succeeded', 0)}/{spec.get('completions') or 1}"
    return [job["metadata"]["name"], state, done, _age(job)]


def _replicas(obj: KubeObject) -> list[object]:
    status = obj.get("status") or {}
    return [obj["metadata"]["name"], f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}", _age(obj)]


def _event(event: KubeObject) -> list[object]:
    involved = event["involvedObject"]
    return [
        _age(event, event.get("lastTimestamp")),
        event["type"],
        event["reason"],
        f"{involved['kind'].lower()}/{involved['name']}",
        event["message"],
    ]


_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[KubeObject], list[object]]]] = {
    "pods": (("Name", "Ready", "Status", "Restarts", "Age"), _pod),
    "jobs.batch": (("Name", "Status", "Completions", "Age"), _job),
    "deployments.apps": (("Name", "Ready", "Age"), _replicas),
    "replicasets.apps": (("Name", "Ready", "Age"), _replicas),
    "statefulsets.apps": (("Name", "Ready", "Age"), _replicas),
    DEFINITIONS: (("Name", "Created At"), lambda crd: [crd["metadata"]["name"], crd["metadata"]["creationTimestamp"]]),
    "events": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
}
_DEFAULT: tuple[tuple[str, ...], Callable[[KubeObject], list[object]]] = (
    ("Name", "Age"),
    lambda obj: [obj["metadata"]["name"], _age(obj)],
)
_PARTIAL, _PARTIAL_LIST = "PartialObjectMetadata", "PartialObjectMetadataList"
_FORMS = ("Table", _PARTIAL, _PARTIAL_LIST)


#: A step of a column's JSONPath: `.name`, `['name']`, `[0]`, or `[?(@.name=="value")]`.
_STEP = re.compile(r"""\.((?:[^.\[\]\\]|\\.)+)|\['([^']+)'\]|\[(\d+)\]|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]""")
#: A date that a column can show. Python reads further forms of ISO 8601, also without a zone.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _at(obj: Any, json_path: str) -> Any:
    """Return the value at a JSONPath, as far as columns use it, or None if there is none."""
    value = obj
    for name, quoted, index, key, expected in _STEP.findall(json_path):
        if index:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
        elif key:
            items = value if isinstance(value, list) else []
            value = next((item for item in items if isinstance(item, dict) and item.get(key) == expected), None)
        else:
            value = value.get(quoted or name.replace("\\", "")) if isinstance(value, dict) else None
    return value


def _cell(obj: KubeObject, column: KubeObject) -> Any:
    """Return the cell of one of `additionalPrinterColumns`.

    See `staging/src/k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go`.
    """
    value = _at(obj, column["jsonPath"])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match column["type"]:
        case "string" if value is not None:
            return _printed(value)
        case "integer" if is_number:
            return int(value) if abs(value) < 2**63 else -(2**63)  # as Go converts what is too large
        case "number" if is_number:
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            return _date(obj, value)
    return None


def _printed(value: Any) -> str:
    """Return the text of a value as `PrintResults` in `staging/src/k8s.io/client-go/util/jsonpath/jsonpath.go` prints it."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _date(obj: KubeObject, stamp: str) -> str:
    """Return the cell of a date: the time since then."""
    if stamp in ("", "null"):
        return "<unknown>"
    try:
        return _age(obj, stamp) if _RFC_3339.fullmatch(stamp) else "<invalid>"
    except ValueError:  # such as month 13
        return "<invalid>"


def _custom_columns(resource: Resource) -> tuple[list[KubeObject], Callable[[KubeObject], list[object]]]:
    """Return the columns of a custom resource, by default name and age, and the function for a row."""
    columns = resource.columns or ({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},)
    headers = [
        {
            "name": c["name"],
            "type": c["type"],
            "format": c.get("format", ""),
            "description": c.get("description")
            or f"Custom resource definition column (in JSONPath format): {c['jsonPath']}",
            "priority": c.get("priority", 0),
        }
        for c in columns
    ]
    return [_header("Name"), *headers], lambda obj: [obj["metadata"]["name"], *(_cell(obj, c) for c in columns)]


def _header(name: str) -> KubeObject:
    return {
        "name": name,
        "type": "string",
        "format": "name" if name == "Name" else "",
        "description": "",
        "priority": 0,
    }


def accepted_forms(accept: str) -> Iterator[dict[str, str]]:
    """Yield the parameters of the media types in an `Accept` header that are JSON, in the client's order.

    Examples
    --------
    >>> list(accepted_forms("application/json;as=Table;g=meta.k8s.io;v=v1, text/html, application/json"))
    [{'as': 'Table', 'g': 'meta.k8s.io', 'v': 'v1'}, {}]
    """
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        if media in ("application/json", "application/*", "*/*"):
            yield dict(p.split("=", 1) for p in parameters if "=" in p)


class Representation:
    """Show objects of one resource in the form that the client requests: as they are, as a Table, or only their metadata.

    The rules come from `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go`.

    Parameters
    ----------
    request : web.Request
        The request; its `Accept` header names the form.
    resource : Resource
        The resource, in the version that the request names. A custom object of another version is shown in this one:
        only its `apiVersion` changes (`conversion: {strategy: None}`).

    Raises
    ------
    ApiError
        406 if the client accepts only forms that do not exist.
    """

    def __init__(self, request: web.Request, resource: Resource) -> None:
        self._resource = resource
        self._includes_object = request.query.get("includeObject") == "Object"
        self._form, self._version = self._negotiate(request.headers.get("Accept", ""))

    @staticmethod
    def _negotiate(accept: str) -> tuple[str, str]:
        """Return kind and version of the first form that the client accepts and this server has; '' is the plain one."""
        forms = list(accepted_forms(accept))
        for form in forms:
            if not form.get("as"):
                return "", ""
            if form["as"] in _FORMS and form.get("g") == "meta.k8s.io" and form.get("v") in ("v1", "v1beta1"):
                return form["as"], f"meta.k8s.io/{form['v']}"
        if forms:
            types = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
            raise ApiError(406, f"only the following media types are accepted: {types}")
        return "", ""

    def object(self, obj: KubeObject) -> KubeObject:
        """Return an object in this form.

        Raises
        ------
        ApiError
            406 if the form is that of a list.
        """
        if self._form == _PARTIAL_LIST:
            raise ApiError(406, "you requested PartialObjectMetadataList, but the requested object is not a list")
        return self.watched(obj)

    def watched(self, obj: KubeObject) -> KubeObject:
        """Return the object of a watch event in this form; if the form is that of a list, return it as it is."""
        if self._form == "Table":
            # What a dry run returns has no version.
            return self._table([obj], {k: v for k, v in obj["metadata"].items() if k == "resourceVersion"})
        return self._partial(obj) if self._form == _PARTIAL else self._converted(obj)

    def list(self, items: Sequence[KubeObject], metadata: KubeObject) -> KubeObject:
        """Return a list in this form.

        Raises
        ------
        ApiError
            406 if the form is that of a single object.
        """
        match self._form:
            case "Table":
                return self._table(items, metadata)
            case "PartialObjectMetadata":
                raise ApiError(406, "you requested PartialObjectMetadata, but the requested object is a list")
            case "PartialObjectMetadataList":
                answer = {"kind": _PARTIAL_LIST, "apiVersion": self._version}
                return answer | {"metadata": metadata, "items": [self._partial(item) for item in items]}
        # Only the items of custom resources repeat kind and version: typed lists leave them out.
        is_custom = self._resource.is_custom
        shown_items = [
            self._converted(o) if is_custom else {k: v for k, v in o.items() if k not in ("kind", "apiVersion")}
            for o in items
        ]
        answer = {"kind": self._resource.list_kind, "apiVersion": self._resource.api_version}
        return answer | {"metadata": metadata, "items": shown_items}

    def _converted(self, obj: KubeObject) -> KubeObject:
        return obj | {"apiVersion": self._resource.api_version} if self._resource.is_custom else obj

    def _partial(self, obj: KubeObject) -> KubeObject:
        return {"kind": _PARTIAL, "apiVersion": self._version, "metadata": obj["metadata"]}

    def _table(self, items: Sequence[KubeObject], metadata: KubeObject) -> KubeObject:
        if self._resource.is_custom:
            columns, row = _custom_columns(self._resource)
        else:
            names, row = _COLUMNS.get(self._resource.group_resource, _DEFAULT)
            columns = [_header(name) for name in names]
        # kubectl sorts and filters by the metadata alone, unless it requests the whole object.
        rows = [
            {"cells": row(o), "object": self._converted(o) if self._includes_object else self._partial(o)}
            for o in items
        ]
        table = {"kind": "Table", "apiVersion": self._version, "metadata": metadata}
        return table | {"columnDefinitions": columns, "rows": rows}
