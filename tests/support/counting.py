"""A proxy before an API server that records the paths of the requests."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def counting_proxy(kubeconfig: Path, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Run the proxy while the block runs; yield a kubeconfig that leads through it, and a growing list of the paths."""
    kube = Kube(kubeconfig)
    target, paths = urlsplit(kube.server), list[str]()
    kube.close()
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()
    end = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(target.hostname, target.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_request: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    if is_request:
                        paths.extend(m.decode() for m in re.findall(rb"^(?:GET|POST) (\S+)", data, re.MULTILINE))
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, upstream[1], is_request=True), pump(upstream[0], writer, is_request=False))

    async def serve() -> None:
        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await end.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    proxy_config = folder / "counted.yaml"
    url = target._replace(netloc=f"127.0.0.1:{ports[0]}").geturl()
    proxy_config.write_text(kubeconfig.read_text().replace(target.geturl(), url))
    try:
        yield proxy_config, paths
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
