"""Query of `pods/log`: parsed and refused as the API server does, and the choice of the run that answers.

Validation is that of `pkg/apis/core/validation/validation.go` (`ValidatePodLogOptions`), the choice of the
container that of `pkg/registry/core/pod/strategy.go` (`LogLocation`), and the choice of its run that of
`pkg/kubelet/kubelet_pods.go` (`validateContainerLogStatus`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.status import bad_request, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

Object = dict[str, Any]


@dataclass(frozen=True)
class LogOptions:
    """What a client asked for.

    Attributes
    ----------
    since : int or None
        ns since the epoch; lines before it are left out.
    since_seconds : int or None
        The same, counted back on the node's clock when the request arrives there.
    tail : int or None
        Raw records from the end.
    limit : int or None
        Bytes of the answer.
    stream : str
        `stdout`, `stderr` or empty for both.
    """

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: int | None = None
    since_seconds: int | None = None
    tail: int | None = None
    limit: int | None = None
    stream: str = ""


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?\d+", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _boolean(query: Mapping[str, str], name: str) -> bool:
    """Read a flag; any text but these means true (`pkg/conversion/queryparams`)."""
    text = query.get(name)
    return text is not None and text.lower() not in ("false", "0")


def _since(text: str | None) -> int | None:
    """Read `sinceTime`; it is cut to whole seconds on the way to the kubelet (kubernetes#77856)."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    return int(datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).astimezone(UTC).timestamp()) * 10**9


def parse(pod: str, query: Mapping[str, str]) -> LogOptions:
    """Read the query.

    Parameters
    ----------
    pod : str
        Name of the pod, for the error text.
    query : mapping of str
        The URL's parameters; unknown ones are ignored, as the API server does.

    Raises
    ------
    ApiError
        400 for what cannot be parsed, 422 for what is out of range.
    """
    options = LogOptions(
        container=query.get("container", ""),
        follow=_boolean(query, "follow"),
        previous=_boolean(query, "previous"),
        timestamps=_boolean(query, "timestamps"),
        since=_since(query.get("sinceTime")),
        since_seconds=_integer(query, "sinceSeconds"),
        tail=_integer(query, "tailLines"),
        limit=_integer(query, "limitBytes"),
        stream={"Stdout": "stdout", "Stderr": "stderr"}.get(
            query.get("stream", "All"), query.get("stream", "All")
        ).replace("All", ""),
    )
    kind = "PodLogOptions"
    if options.tail is not None and options.tail < 0:
        raise invalid(kind, pod, "tailLines", f"Invalid value: {options.tail}: must be greater than or equal to 0")
    if options.limit is not None and options.limit < 1:
        raise invalid(kind, pod, "limitBytes", f"Invalid value: {options.limit}: must be greater than 0")
    if options.since is not None and options.since_seconds is not None:
        text = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise invalid(kind, pod, "[]", text, "FieldValueForbidden")
    if options.since_seconds is not None and options.since_seconds < 1:
        raise invalid(kind, pod, "sinceSeconds", f"Invalid value: {options.since_seconds}: must be greater than 0")
    if options.stream not in ("", "stdout", "stderr"):
        text = f'Unsupported value: "{query["stream"]}": supported values: "All", "Stderr", "Stdout"'
        raise invalid(kind, pod, "stream", text, "FieldValueNotSupported")
    if options.stream and options.tail is not None:
        text = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
        raise invalid(kind, pod, "[]", text, "FieldValueForbidden")
    return options


def choose_container(pod: Object, wanted: str) -> str:
    """Give the container that answers.

    Raises
    ------
    ApiError
        400 where none is named and there are several, or the name is not one of the pod's.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = {
        part: [c["name"] for c in spec.get(part) or []]
        for part in ("initContainers", "containers", "ephemeralContainers")
    }
    if wanted:
        if not any(wanted in group for group in names.values()):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names["containers"]) == 1:
        return str(names["containers"][0])
    choice = " ".join(each for group in names.values() for each in group)
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{choice}]")


def choose_run(pod: Object, container: str, *, previous: bool) -> str:
    """Give the container ID of the run that answers.

    A container that waits for its next restart answers with its last run, silently.

    Raises
    ------
    ApiError
        400 where there is none yet, in the kubelet's words.
    """
    where = f'container "{container}" in pod "{pod["metadata"]["name"]}"'
    status = pod.get("status") or {}
    parts = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found = next((s for part in parts for s in status.get(part) or [] if s["name"] == container), None)
    if found is None:
        raise bad_request(f"{where} is not available")
    state = found["state"]
    last = (found.get("lastState") or {}).get("terminated", {}).get("containerID", "")
    if previous:
        if not last:
            raise bad_request(f"previous terminated {where} not found")
        return str(last)
    if "running" in state:
        return str(found["containerID"])
    if current := state.get("terminated", {}).get("containerID", "") or last:
        return str(current)
    if "terminated" in state:
        raise bad_request(f"{where} is terminated")
    reason = state.get("waiting", {}).get("reason")
    if not reason:
        raise bad_request(f"{where} is waiting to start - no logs yet")
    words = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    raise bad_request(f"{where} is waiting to start: {words.get(reason, reason)}")
