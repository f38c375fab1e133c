"""What a recorder answers over HTTP, to Prometheus and to the kubelet's probes: `/metrics`, `/healthz`, `/readyz`.

`/healthz` says whether the process hangs, which another start mends; `/readyz` whether it can record: its store takes its
heartbeats and its batches, it looks for tasks, and is told of new ones. A store that is away, full, or without its replicas
makes it unready, and is no reason to start it anew.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from cortex_jupyter.errors import CortexError
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.recorder.process.health import Pulse


@asynccontextmanager
async def serving(pulse: Pulse, host: str = "") -> AsyncIterator[None]:
    """Serve while the block runs.

    Parameters
    ----------
    pulse : Pulse
        Of which it tells, and its port.
    host : str, optional
        The address to listen at; all of this machine by default, as probes come from outside the pod.

    Raises
    ------
    CortexError
        The port is taken.
    """

    async def health(_: web.Request) -> web.Response:
        return _told(pulse.hangs())

    async def ready(_: web.Request) -> web.Response:
        return _told("; ".join(pulse.lacks()))

    recorder_metrics.UNCOMMITTED.set_function(pulse.waits)
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host or None, pulse.port).start()
        except OSError as error:
            raise CortexError(
                f"port {pulse.port} cannot be listened at: {error.strerror}", "give another --port"
            ) from error
        yield
    finally:
        await runner.cleanup()


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _told(wrong: str) -> web.Response:
    return web.Response(status=503, text=f"{wrong}\n") if wrong else web.Response(text="ok\n")
