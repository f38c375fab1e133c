"""A task as JSON of the HTTP contract: from the cluster, or from its recording if the cluster has it no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import Completeness, RecordingInfo


def recorded(info: RecordingInfo) -> dict[str, Any]:
    """Return a task as its recording has it.

    Examples
    --------
    >>> from cortex_jupyter.model import TaskRef
    >>> from cortex_jupyter.store import RecordingInfo
    >>> info = RecordingInfo(1, TaskRef("ml", "job", "a"), "u", "c", "failed", "Job failed exit 3", "Failed", 3, None, None, True, True, 9)
    >>> [recorded(info)[k] for k in ("task", "state", "exit_code")]
    ['ml:job/a', 'failed', 3]
    """
    ref = info.ref
    return {
        "task": ref.key,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "state": info.state or "gone",
        "message": info.message,
        "reason": info.reason,
        "started": info.started,
        "finished": info.finished,
        "exit_code": info.exit_code,
    }


def gone_task(info: RecordingInfo) -> dict[str, Any]:
    """Return a task that the cluster has no more; its state is `gone` if its end was not seen."""
    if info.done:
        return recorded(info)
    message = "The task is no longer in the cluster; what was recorded of it is here"
    return recorded(info) | {"state": "gone", "message": message, "reason": "Deleted"}


def unasked(info: RecordingInfo, error: CortexError) -> dict[str, Any]:
    """Return a task when the cluster does not answer: its state is the last that was recorded.

    Examples
    --------
    >>> from cortex_jupyter.errors import NoCluster
    >>> from cortex_jupyter.model import TaskRef
    >>> from cortex_jupyter.store import RecordingInfo
    >>> info = RecordingInfo(1, TaskRef("ml", "job", "a"), "u", "c", "running", "Running", "", None, None, None, False, True, 9)
    >>> unasked(info, NoCluster("there is no kubeconfig at /x"))["message"]
    'The cluster cannot be asked: there is no kubeconfig at /x; this is what is recorded'
    """
    if info.done:
        return recorded(info)
    message = f"The cluster cannot be asked: {error.message}; this is what is recorded"
    return recorded(info) | {"message": message, "reason": error.code}


def unasked_list(error: CortexError) -> str:
    """Return the message for a list of tasks that does not come from the cluster."""
    return f"The cluster cannot be asked: {error.message}; these tasks and states are the last that were recorded"


async def present(recording: Recording, info: RecordingInfo) -> dict[str, Any]:
    """Return a task as it is now: by its recorder's last word, else by the cluster.

    Parameters
    ----------
    recording : Recording
    info : RecordingInfo
        The recording's state, just read.
    """
    obstacle = None if info.done else await recording.obstacle()
    if recording.workload is None and obstacle is not None:
        return unasked(info, obstacle)
    if recording.workload is None and not info.caught_up:
        return gone_task(info)
    if recording.workload is None or (obstacle is None and info.state):
        return recorded(info)
    # Imported here because readers of recordings do not need it.
    from cortex_jupyter.cluster.tasks import pods_of
    from cortex_jupyter.cluster.workloads import state_of

    assert recording.cluster is not None
    try:
        pods = await pods_of(recording.cluster, recording.workload)
    except CortexError:
        pods = []  # the workload's state is enough
    state, workload = state_of(recording.workload, pods), recording.workload
    now = {"state": state.name, "message": state.message, "reason": state.reason, "exit_code": state.exit_code}
    if obstacle is not None:
        now |= {"message": f"Log not available yet: {obstacle.message}", "reason": obstacle.code}
    return recorded(info) | now | {"started": workload.started, "finished": workload.finished}


def completeness_of(complete: Completeness) -> dict[str, Any]:
    """Return the completeness statement as the contract has it: counted from what is recorded, never assumed."""
    return {
        "records": complete.records,
        "from": None if complete.first is None else rfc3339(complete.first),
        "to": None if complete.last is None else rfc3339(complete.last),
        "gaps": complete.gaps,
        "sources": complete.sources,
    } | ({"masked": complete.masked} if complete.masked else {})
