"""What a recorder answers over HTTP, to Prometheus and to the kubelet's probes: `/metrics`, `/healthz`, `/readyz`."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from cortex_jupyter.errors import CortexError
from cortex_jupyter.recording.process import telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: A heartbeat is written each second; without one for so long, seconds, other recorders take this one's tasks.
STALE_S: Final = 10.0


@asynccontextmanager
async def serving(port: int, host: str = "") -> AsyncIterator[None]:
    """Serve while the block runs.

    Parameters
    ----------
    port : int
    host : str, optional
        The address to listen at; all of this machine by default, as probes come from outside the pod.

    Raises
    ------
    CortexError
        The port is taken.
    """
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _health)
    app.router.add_get("/readyz", _health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            raise CortexError(f"port {port} cannot be listened at: {error.strerror}", "give another --port") from error
        yield
    finally:
        await runner.cleanup()


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _health(_: web.Request) -> web.Response:
    """Well is a recorder whose store took its heartbeat; that needs the store, the event loop and the lease loop alike."""
    age = time.time() - telemetry.BEAT._value.get()  # noqa: SLF001 - the library has no way to read a value
    if age <= STALE_S:
        return web.Response(text="ok\n")
    return web.Response(status=503, text=f"the store has not taken a heartbeat for {age:.0f} s\n")
