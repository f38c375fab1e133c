"""The query of `pods/log`: parse and validate it, and choose the container and its run.

Validation follows `pkg/apis/core/validation/validation.go` (`ValidatePodLogOptions`). The choice of the container
follows `pkg/registry/core/pod/strategy.go` (`LogLocation`), that of its run `pkg/kubelet/kubelet_pods.go`
(`validateContainerLogStatus`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.status import bad_request, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.cluster import KubeObject


@dataclass(frozen=True)
class LogOptions:
    """The parsed query of a request for a log.

    Attributes
    ----------
    since : int or None
        Time of the first line to send (ns since the Unix epoch).
    since_seconds : int or None
        The same in seconds before the request, by the node's clock.
    tail : int or None
        Number of raw records to send, counted from the end.
    limit : int or None
        Longest answer (bytes).
    stream : str
        `stdout`, `stderr`, or empty for both.
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
    """Parse a flag; any value except `false` and `0` means true (`pkg/conversion/queryparams`)."""
    text = query.get(name)
    return text is not None and text.lower() not in ("false", "0")


def _since(text: str | None) -> int | None:
    """Parse `sinceTime`; the API server truncates it to whole seconds for the kubelet (kubernetes#77856)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not match:
        raise bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    return int(datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00")).astimezone(UTC).timestamp()) * 10**9


def parse(pod: str, query: Mapping[str, str]) -> LogOptions:
    """Parse the query.

    Parameters
    ----------
    pod : str
        Name of the pod, for error messages.
    query : mapping of str
        The URL's parameters; unknown ones are ignored, as in the API server.

    Raises
    ------
    ApiError
        400 for a value that cannot be parsed, 422 for one that is out of range.
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


def choose_container(pod: KubeObject, requested: str) -> str:
    """Return the name of the container to read.

    Raises
    ------
    ApiError
        400 if the query names none and the pod has several, or if the pod has none of that name.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = {
        part: [c["name"] for c in spec.get(part) or []]
        for part in ("initContainers", "containers", "ephemeralContainers")
    }
    if requested:
        if not any(requested in group for group in names.values()):
            raise bad_request(f"container {requested} is not valid for pod {name}")
        return requested
    if len(names["containers"]) == 1:
        return str(names["containers"][0])
    choice = " ".join(each for group in names.values() for each in group)
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{choice}]")


def choose_run(pod: KubeObject, container: str, *, previous: bool) -> str:
    """Return the container ID of the run to read.

    For a container that waits for its next restart, this is its last run.

    Raises
    ------
    ApiError
        400 if there is no run yet, worded as by the kubelet.
    """
    subject = f'container "{container}" in pod "{pod["metadata"]["name"]}"'
    status = pod.get("status") or {}
    parts = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    container_status = next((s for part in parts for s in status.get(part) or [] if s["name"] == container), None)
    if container_status is None:
        raise bad_request(f"{subject} is not available")
    state = container_status["state"]
    last_id = (container_status.get("lastState") or {}).get("terminated", {}).get("containerID", "")
    if previous:
        if not last_id:
            raise bad_request(f"previous terminated {subject} not found")
        return str(last_id)
    if "running" in state:
        return str(container_status["containerID"])
    if current_id := state.get("terminated", {}).get("containerID", "") or last_id:
        return str(current_id)
    if "terminated" in state:
        raise bad_request(f"{subject} is terminated")
    reason = state.get("waiting", {}).get("reason")
    if not reason:
        raise bad_request(f"{subject} is waiting to start - no logs yet")
    messages = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    raise bad_request(f"{subject} is waiting to start: {messages.get(reason, reason)}")
