"""The two ways to read logs over the API: `pods/POD/log`, and the files of the node through `nodes/NODE/proxy`."""

from __future__ import annotations

import contextlib
import functools
import html
import re
import urllib.parse
from typing import TYPE_CHECKING

from aiohttp import web

from cortex_jupyter.sandbox import logoptions
from cortex_jupyter.sandbox.logreader import read
from cortex_jupyter.sandbox.stream import Stream

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.sandbox.api import Target
    from cortex_jupyter.sandbox.kubelet import Kubelet

_LOST = "unable to retrieve container logs for {}"


async def pod_log(kubelet: Kubelet, request: web.Request, target: Target) -> web.StreamResponse:
    """Answer `GET /api/v1/namespaces/NS/pods/POD/log`.

    Raises
    ------
    ApiError
        404 if there is no such pod, and the errors of `logoptions`.

    Notes
    -----
    A pod that is not bound to a node answers 204 without a body: `LogLocation` returns no location, and
    `StreamObject` then finds "No output provided". An error that the kubelet meets after the response headers comes as
    text inside the 200: a client sees a line without a time.
    """
    options = logoptions.parse(target.name, request.query)
    pod = kubelet.store.require(target.resource, target.namespace, target.name)
    container = logoptions.choose_container(pod, options.container)
    if not pod["spec"].get("nodeName"):
        return web.Response(status=204)
    run = logoptions.choose_run(pod, container, previous=options.previous)
    faults, path = kubelet.faults, f"{request.method} {request.path_qs}"
    since = options.since
    if options.since_seconds is not None:
        since = faults.clock(target.name, container)() - options.since_seconds * 10**9
    stream = Stream(request, "text/plain", faults, lambda: faults.log_fault(target.name, container, path))
    async with stream:
        fault = faults.log_fault(target.name, container, path)
        log = kubelet.logs.get(run)
        if fault is not None and fault.kind == "garbage":
            faults.use(fault)
            await stream.response.write(fault.options.get("text", _LOST.format(run)).encode())
            return stream.response
        if log is None:
            await stream.response.write(_LOST.format(run).encode())
            return stream.response
        with contextlib.suppress(ConnectionError):
            misses_rotation = functools.partial(faults.misses_rotation, target.name, container)
            async for block in read(log, options, since, misses_rotation=misses_rotation):
                await stream.send(block)
    return stream.response


def node_log(root: Path, rest: str, byte_range: str = "") -> web.StreamResponse:
    """Answer `GET /api/v1/nodes/NODE/proxy/logs/...` with a file or a folder below `/var/log`.

    A folder is the HTML page of Go's `http.FileServer` (`net/http/fs.go`, `dirList`). A file comes unchanged.

    Parameters
    ----------
    root : Path
        The node's `/var/log`.
    rest : str
        The part of the URL after `/logs/`.
    byte_range : str, optional
        The request's `Range` header; only the end of a file (`bytes=-N`) is supported.
    """
    path = (root / rest).resolve()
    if not path.is_relative_to(root.resolve()) or not path.exists():
        return web.Response(status=404, text="404 page not found\n")
    if path.is_file():
        tail = re.fullmatch(r"bytes=-(\d+)", byte_range)
        if tail:
            return web.Response(status=206, body=path.read_bytes()[-int(tail[1]) :], content_type="text/plain")
        # An explicit media type, so that `.gz` is not announced as a content encoding, which the client would decompress.
        return web.Response(
            body=path.read_bytes(), content_type="application/x-gzip" if path.suffix == ".gz" else "text/plain"
        )
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    links = "".join(f'<a href="{urllib.parse.quote(name)}">{html.escape(name)}</a>\n' for name in names)
    page = f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{links}</pre>\n'
    return web.Response(text=page, content_type="text/html")
