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
    """The container has no log yet: it waits to start, or its pod is not scheduled."""


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
    limit_bytes: int | None = None,
    read_timeout: float | None = None,
) -> AsyncIterator[aiohttp.StreamReader]:
    """Open the log of a container (`pods/log`) with timestamps.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    source : Source
        The pod and container to read. The API answers for the run that the node considers newest, so the caller must
        compare the pod's container ID before and after.
    follow : bool
        Keep the stream open until the container ends. A clean end of the stream does not prove that it has ended.
    previous : bool, optional
        Read the run before the current one.
    since : int, optional
        ns since the Unix epoch, a whole second: the API server cuts it to seconds (kubernetes#92389).
    tail : int, optional
        Read only this many lines, the last ones.
    limit_bytes : int, optional
        Read only this many bytes, the first ones.
    read_timeout : float, optional
        Reading raises `TimeoutError` after this many seconds without a byte.

    Raises
    ------
    NotReady
        The server answers 400 while the container waits to start, 204 while the pod is not scheduled.
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
    if limit_bytes is not None:
        query["limitBytes"] = str(limit_bytes)
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
                # The server also answers 400 with `previous terminated container "x" in pod "y" not found`.
                raise NotFound(error.message) if "previous terminated" in error.message else NotReady(error.message)
            case status:
                raise status_error(status, await response.read())
