"""What `server.sse.Stream` needs of what it writes to: a handler of the server has it, and a kernel's comm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.telemetry.tracing import Span


class Settings(Protocol):
    """How fast a stream goes, and how often it is heard of."""

    heartbeat_s: float
    max_bytes_per_s: int


class Host(Protocol):
    """For whom it is written; see `server.service.Service`."""

    @property
    def app(self) -> Settings:
        """Give the settings."""

    def active(self) -> None:
        """Tell that work is going on."""

    async def check(self, ref: TaskRef, handler: Any, /) -> None:
        """Check that who reads a task over a response may still do so."""

    async def hidden(self, ref: TaskRef, handler: Any, /) -> dict[str, str]:
        """Return what a reader over a response may not see beside a task's lines, and why."""

    async def renewed(self, handler: Any, /) -> bool:
        """Ask who reads over a response, and tell whether more or less is known of them than before."""


class Response(Protocol):
    """Where it is written to; `flush` waits while nobody reads."""

    span: Span

    @property
    def service(self) -> Host:
        """Give its host."""

    def set_header(self, name: str, value: str, /) -> None:
        """Set a header, before anything is written."""

    def write(self, data: bytes, /) -> None:
        """Take bytes."""

    def flush(self) -> Awaitable[None]:
        """Send them."""
