"""Open one container's log as a stream of bytes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cortex_jupyter.cluster.session import status_error
from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import ClusterError, NotFound
from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import Source


class NotReady(ClusterError):
    """The container has no log to read yet: it waits to start, or its pod is not scheduled."""


@asynccontextmanager
async def open_log(
    cluster: Cluster,
    namespace: str,
    source: Source,
    *,
    follow: bool,
    previous: bool = False,
    since: int | None = None,
    tail: int | None = None,
    read_timeout: float | None = None,
) -> AsyncIterator[aiohttp.StreamReader]:
    """Open `pods/log` with timestamps.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    source : Source
        Whose pod and container to read. The API answers for whatever run the node finds newest, so compare the
        pod's container id before and after.
    follow : bool
        Stay until the container ends; a clean end does not prove that it has.
    previous : bool, optional
        The run before the present one.
    since : int, optional
        ns since the epoch. The API server cuts it to whole seconds (kubernetes#92389): pass a whole one.
    tail : int, optional
        Only the last so many lines.
    read_timeout : float, optional
        Seconds without a byte after which reading raises `TimeoutError`.

    Raises
    ------
    NotReady
        400 while the container waits to start, 204 while the pod is not scheduled.
    NotFound, NotAllowed, ClusterError, ClusterUnreachable
    """
    query = {"container": source.container, "timestamps": "true"}
    if follow:
        query["follow"] = "true"
    if previous:
        query["previous"] = "true"
    if since is not None:
        query["sinceTime"] = rfc3339(since)
    if tail is not None:
        query["tailLines"] = str(tail)
    path = f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(source.pod)}/log"
    async with cluster.request(path, query, read_timeout=read_timeout) as response:
        match response.status:
            case 200:
                yield response.content
                return
            case 204:
                raise NotReady("the pod is not scheduled yet")
            case 400:
                error = status_error(400, await response.read())
                # `previous terminated container "x" in pod "y" not found` is a 400 as well.
                raise NotFound(error.message) if "previous terminated" in error.message else NotReady(error.message)
            case status:
                raise status_error(status, await response.read())
