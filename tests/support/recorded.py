"""Writes a long recording directly to a store, and shows it in a page."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cortex_jupyter.notebook
from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
from cortex_jupyter.store import Commit, RecorderInfo
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

STATIC = Path(cortex_jupyter.notebook.__file__).parent / "static"
CLUSTER = "https://cluster.test"
#: 2023-11-14T22:13:20Z
T0 = 1_700_000_000_000_000_000
#: Time between two lines (ns).
STEP = 1_000_000
_BATCH = 1000
_LEVELS = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "WARNING", "INFO", "INFO", "INFO", "ERROR")


def line(number: int) -> str:
    """Return the text of a line, about 90 characters."""
    level = _LEVELS[number * 7919 % 10]
    return f"{level} line {number:08d} loss={number * 31 % 997 / 1000} lr=3.0e-4 grad_norm=0.91 mem=7{number % 10} tokens/s=18204"


def record(store_url: str, name: str, lines: int) -> TaskRef:
    """Record a completed task of three pods: one line per millisecond, numbered from 1 like `seq`."""
    ref = TaskRef("default", "job", name)
    store = open_store(store_url)
    try:
        recording = store.open(CLUSTER, ref, f"uid-{name}")
        store.beat(RecorderInfo(name, CLUSTER, socket.gethostname(), os.getpid(), time.time()))
        lease = store.lease(recording, name)
        assert lease is not None
        pods = [Source(f"{name}-{i}", f"uid-{i}", "main", f"id-{i}", node="node-1") for i in range(3)]
        sources = {store.add_source(lease, pod): pod.public for pod in pods}
        sids = sorted(sources)
        entries: list[Entry] = []
        for first in range(1, lines + 1, _BATCH):
            numbers = range(first, min(first + _BATCH, lines + 1))
            times = [T0 + n * STEP for n in numbers]
            data = encode_batch(
                ref.key, first, times, [sids[n % 3] for n in numbers], None, [line(n) for n in numbers], sources
            )
            entries.append(Entry(first, len(times), "log", times[0], times[-1], data))
            if len(entries) == 100 or numbers[-1] == lines:
                store.commit(lease, Commit(entries))
                entries = []
        message = "Job complete exit 0"
        end = notice(ref.key, lines + 1, T0 + (lines + 1) * STEP, "end", message, state="succeeded", exit_code=0)
        done = {"state": "succeeded", "message": message, "exit_code": 0, "done": 1, "caught_up": 1}
        store.commit(lease, Commit([end], update=done))
        store.leave(name)
    finally:
        store.close()
    return ref


_PAGE = """<!doctype html><meta charset="utf-8"><title>viewer</title>
<script id="jupyter-config-data" type="application/json">{"baseUrl": "%(base)s", "token": "%(token)s", "cortexJupyter": "1"}</script>
<body style="margin: 16px"><div id="cell"></div><script type="module">
const handlers = {}
const comm = %(comm)s && new WebSocket(%(comm)s)
if (comm) {
  comm.binaryType = 'arraybuffer'
  comm.onmessage = ({ data }) => {
    const begin = 4 + new DataView(data).getUint32(0)
    const message = JSON.parse(new TextDecoder().decode(data.slice(4, begin)))
    for (const f of handlers['msg:custom'] ?? []) f(message, data.byteLength > begin ? [new DataView(data, begin)] : [])
  }
  await new Promise((done) => (comm.onopen = done))
}
const traits = { tasks: %(tasks)s, query: %(query)s, transport: comm ? 'comm' : 'sse', height: 520 }
window.model = {
  get: (name) => traits[name], set: (name, value) => { traits[name] = value }, save_changes() {},
  send: (message) => comm && comm.send(JSON.stringify(message)),
  on: (name, f) => (handlers[name] ??= new Set()).add(f), off: (name, f) => handlers[name]?.delete(f),
}
const text = async (name) => (await fetch(`static-viewer/${name}`)).text()
const widget = (await import(new URL('static-viewer/viewer.js', location.href))).default(await text('viewer.css'), await text('store.js'), (name) => text(`${name}.js`))
performance.mark('begun')
widget.initialize({ model })
widget.render({ model, el: document.getElementById('cell') })
</script>"""


def show(
    page: Page, url: str, base: str, token: str, tasks: str, query: str = '{"since": "all"}', comm: str | None = None
) -> None:
    """Show tasks in a page of a running server that contains only the viewer.

    Parameters
    ----------
    page : Page
    url, base, token : str
        The server's address, base path and token.
    tasks, query : str
        The widget's traits, as JSON.
    comm : str, optional
        Address of a `comm_server` to read from instead of the server.
    """
    body = _PAGE % {"base": base, "token": token, "tasks": tasks, "query": query, "comm": json.dumps(comm)}

    def static(route: Route) -> None:
        route.fulfill(path=STATIC / route.request.url.rpartition("/")[2].split("?")[0])

    if comm:
        # Chromium counts the page as outside the local network, so a WebSocket to it needs this permission.
        page.context.grant_permissions(["local-network-access"])
    page.route("**/static-viewer/*", static)
    page.route("**/viewer.html", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{url}viewer.html")
