"""Serve `/metrics`, `/healthz` and `/readyz` over HTTP, for Prometheus and the kubelet's probes.

`/healthz` fails if the process hangs, which a restart mends. `/readyz` fails if it cannot record: the store must take
its heartbeats and batches, it must look for tasks, and the watches must report new ones. A store that is away, full or
without its replicas makes it unready, and is no reason for a restart. An archive that fails is neither: recording goes on,
and an unready collector would only block rollouts. `/readyz` then answers 200 with a warning.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from cortex_jupyter.errors import CortexError
from cortex_jupyter.recorder.process.health import LOOPBACK
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from cortex_jupyter.recorder.process.health import Health


@asynccontextmanager
async def serving(health: Health, host: str = LOOPBACK) -> AsyncIterator[None]:
    """Serve while the block runs.

    Parameters
    ----------
    health : Health
        What is served, and at which port.
    host : str, optional
        The address to listen on; `*` for all, where probes come from outside a pod.

    Raises
    ------
    CortexError
        The port is in use.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.liveness())

    async def readyz(_: web.Request) -> web.Response:
        return _answer("; ".join(health.readiness()), health.warnings())

    recorder_metrics.UNCOMMITTED.set_function(health.longest_write_s)
    recorder_metrics.ARCHIVE_WAITING.set_function(health.archive_waiting)
    recorder_metrics.ARCHIVE_OLDEST.set_function(health.archive_waits_s)
    app = web.Application()
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, None if host == "*" else host, health.port).start()
        except OSError as error:
            raise CortexError(
                f"cannot listen on port {health.port} of {host}: {error.strerror}",
                "choose another port with --port, or another address with --host",
            ) from error
        yield
    finally:
        await runner.cleanup()


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(problem: str, warnings: Iterable[str] = ()) -> web.Response:
    if problem:
        return web.Response(status=503, text=f"{problem}\n")
    return web.Response(text="".join(["ok\n", *(f"warning: {warning}\n" for warning in warnings)]))
