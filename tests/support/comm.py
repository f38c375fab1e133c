"""A stand-in for a kernel's comm: a WebSocket that carries its messages between a page and `CommServer`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from cortex_jupyter.notebook.comm import CommServer
from cortex_jupyter.notebook.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator


class Comm(WebSocketHandler):
    """The connection of one page. The page sends JSON; it receives the length of a JSON text, the text, and a buffer."""

    def initialize(self, engine: Runtime, recordings: Any) -> None:
        def send(message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
            engine.loop.call_soon_threadsafe(self._send, orjson.dumps(message), b"".join(buffers or ()))

        self._server = CommServer(engine, recordings, send)

    def check_origin(self, origin: str) -> bool:
        return True

    def on_message(self, message: str | bytes) -> None:
        self._server.receive(orjson.loads(message))

    def on_close(self) -> None:
        self._server.close()

    def _send(self, text: bytes, buffer: bytes) -> None:
        if self.ws_connection is not None:
            self.write_message(len(text).to_bytes(4) + text + buffer, binary=True)


@contextlib.contextmanager
def comm_server(store_url: str) -> Iterator[str]:
    """Serve a store's recordings while the block runs; yield the WebSocket's address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORTEX_STORE", store_url)
        patch.setenv("KUBECONFIG", "/nowhere")
        engine = Runtime()
        recordings = engine.run(engine.recordings())
        sockets = bind_sockets(0, "127.0.0.1")

        async def start() -> HTTPServer:
            server = HTTPServer(Application([("/", Comm, {"engine": engine, "recordings": recordings})]))
            server.add_sockets(sockets)
            return server

        async def stop() -> None:
            server.stop()
            await server.close_all_connections()

        server = engine.run(start())
        try:
            yield f"ws://127.0.0.1:{sockets[0].getsockname()[1]}/"
        finally:
            engine.run(stop())
            engine.close()
