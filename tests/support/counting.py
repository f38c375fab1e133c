"""A proxy before an API server that counts what it is asked."""

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
def counted(kubeconfig: Path, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Return a kubeconfig that leads through it, and the paths that are asked for, as they come."""
    kube = Kube(kubeconfig)
    there, seen = urlsplit(kube.server), list[str]()
    kube.close()
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()
    end = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(there.hostname, there.port)

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, *, count: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    if count:
                        seen.extend(m.decode() for m in re.findall(rb"^(?:GET|POST) (\S+)", data, re.MULTILINE))
                    to.write(data)
                    await to.drain()
            to.close()

        await asyncio.gather(pump(reader, upstream[1], count=True), pump(upstream[0], writer, count=False))

    async def serve() -> None:
        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await end.wait()
        server.close()
        open_ = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    made = folder / "counted.yaml"
    url = there._replace(netloc=f"127.0.0.1:{ports[0]}").geturl()
    made.write_text(kubeconfig.read_text().replace(there.geturl(), url))
    try:
        yield made, seen
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()
