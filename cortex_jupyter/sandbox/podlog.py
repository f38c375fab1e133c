"""`GET /api/v1/namespaces/NS/pods/POD/log`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from cortex_jupyter.sandbox import logoptions
from cortex_jupyter.sandbox.logreader import read
from cortex_jupyter.sandbox.stream import Stream

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.api import Target
    from cortex_jupyter.sandbox.kubelet import Kubelet

_LOST = "unable to retrieve container logs for {}"


async def pod_log(kubelet: Kubelet, request: web.Request, where: Target) -> web.StreamResponse:
    """Answer a request for a log.

    Raises
    ------
    ApiError
        As `logoptions` says; 404 where there is no such pod.

    Notes
    -----
    A pod that is not bound to a node answers 204 with no body (`LogLocation` gives no location and
    `StreamObject` then "No output provided"). What the kubelet finds out after it has begun to answer comes as
    text inside the 200: a client sees a line without a time.
    """
    options = logoptions.parse(where.name, request.query)
    pod = kubelet.store.require(where.resource, where.namespace, where.name)
    container = logoptions.choose_container(pod, options.container)
    if not pod["spec"].get("nodeName"):
        return web.Response(status=204)
    run = logoptions.choose_run(pod, container, previous=options.previous)
    faults, path = kubelet.faults, f"{request.method} {request.path_qs}"
    since = options.since
    if options.since_seconds is not None:
        since = faults.clock(where.name, container)() - options.since_seconds * 10**9
    stream = Stream(request, "text/plain", faults, lambda: faults.stream(where.name, container, path))
    async with stream:
        fault = faults.stream(where.name, container, path)
        log = kubelet.logs.get(run)
        if fault is not None and fault.kind == "garbage":
            faults.use(fault)
            await stream.response.write(fault.options.get("text", _LOST.format(run)).encode())
            return stream.response
        if log is None:
            await stream.response.write(_LOST.format(run).encode())
            return stream.response
        with contextlib.suppress(ConnectionError):
            async for block in read(log, options, since, blind=lambda: faults.blind(where.name, container)):
                await stream.send(block)
    return stream.response
