"""A stand-in for a cluster with one pod, with scripted answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.errors import NotFound
from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Part = bytes | Exception | object
T0 = 1_700_000_000_000_000_000


def line(second: float, text: str) -> bytes:
    return f"{rfc3339(T0 + int(second * 1_000_000_000))} {text}\n".encode()


def pod(
    state: str = "running", number: int = 0, last: int | None = None, exit_code: int = 0, finished: int = 2800
) -> dict[str, Any]:
    """Return the pod of `support.hand.source(1)`: its newest run has `number`, and ended runs finished at second `finished`."""
    at = rfc3339(T0 + finished * 1_000_000_000)[:19] + "Z"
    ended = {"exitCode": exit_code, "reason": "Completed", "finishedAt": at}
    status: dict[str, Any] = {"name": "main", "restartCount": number, "containerID": f"containerd://1-{number}"}
    status["state"] = {"running": {}} if state == "running" else {"terminated": ended}
    if last is not None:
        status["lastState"] = {"terminated": ended | {"containerID": f"containerd://1-{last}"}}
    return {
        "metadata": {"name": "pod-1", "uid": "uid-1", "creationTimestamp": "2023-11-14T22:00:00Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }


class Content:
    """The part of a response's stream that the recorder uses."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    async def readany(self) -> bytes:
        while self._parts:
            match self._parts[0]:
                case Exception() as error:
                    self._parts.pop(0)
                    raise error
                case bytes() as data:
                    self._parts.pop(0)
                    return data
                case wait:
                    await wait()  # type: ignore[operator]
                    self._parts.pop(0)
        return b""

    async def read(self) -> bytes:
        data = b""
        while part := await self.readany():
            data += part
        return data


class Response:
    def __init__(self, status: int, parts: list[Part]) -> None:
        self.status = status
        self.content = Content(parts)

    async def read(self) -> bytes:
        return await self.content.read()


class Node:
    """A stand-in for `cluster.session.Cluster`.

    Attributes
    ----------
    pod : dict or Exception
        The pod as the API returns it now, or the error that it raises.
    log : bytes
        The container's log file; a request without a script gets its lines from `sinceTime` on.
    files : dict or None
        The rotated files by name; None if `nodes/proxy` is forbidden.
    previous : bytes or None
        The log of the previous run; None means `log` if the pod's status has a previous run, else a 400.
    removed, runs : bool
        Whether the node has removed the container; whether the container runs, so that a follow of its last lines stays open.
    scripts : list of list
        Parts of the next log streams: bytes, errors to raise, or coroutine functions to await.
    """

    def __init__(self, one: dict[str, Any] | Exception, log: bytes = b"") -> None:
        self.pod, self.log = one, log
        self.clock = SimpleNamespace(offset=T0 / 1e9 + 1 - time.time())
        self.previous: bytes | None = None
        self.removed = False
        self.scripts: list[list[Part]] = []
        self.files: dict[str, bytes] | None = None
        self.asked: list[dict[str, str]] = []
        self.runs = False
        self.on_json: Callable[[], Awaitable[None]] | None = None
        self.on_file: Callable[[], Awaitable[None]] | None = None

    async def json(self, path: str, query: dict[str, str] | None = None) -> Any:
        if self.on_json is not None:
            await self.on_json()
        if isinstance(self.pod, Exception):
            raise self.pod
        return self.pod

    def _file(self, name: str) -> Response:
        if self.files is None:
            return Response(403, [b'{"message": "nodes \\"node-1\\" is forbidden"}'])
        if name:
            return Response(200, [self.files[name]]) if name in self.files else Response(404, [b"404 page not found"])
        return Response(200, ["".join(f'<a href="{n}">{n}</a>' for n in ["0.log", *self.files]).encode()])

    @asynccontextmanager
    async def request(self, path: str, query: dict[str, str] | None = None, **_: Any) -> AsyncIterator[Response]:
        if "/proxy/logs/" in path:
            if self.on_file is not None:
                await self.on_file()
            yield self._file(path.rpartition("/")[2])
            return
        query = query or {}
        self.asked.append(query)
        if isinstance(self.pod, NotFound):
            yield Response(404, [orjson.dumps({"message": self.pod.message})])
            return
        log = self.log
        if "previous" in query:
            (status,) = self.pod["status"]["containerStatuses"] if isinstance(self.pod, dict) else [{}]
            if self.previous is None and "lastState" not in status:
                text = 'previous terminated container "main" in pod "pod-1" not found'
                yield Response(400, [orjson.dumps({"message": text})])
                return
            log = log if self.previous is None else self.previous
        if self.removed:
            yield Response(200, [b"unable to retrieve container logs for containerd://1-0"])
            return
        lines = log.splitlines(keepends=True)
        if "tailLines" in query:
            tail = b"".join(lines[-int(query["tailLines"]) :])
            yield Response(200, [tail, asyncio.Event().wait] if "follow" in query and self.runs else [tail])
        elif self.scripts:
            yield Response(200, self.scripts.pop(0))
        else:
            since = query.get("sinceTime", "").encode()
            yield Response(200, [b"".join(x for x in lines if x[: len(since)] >= since)])


def cri(log: bytes) -> bytes:
    """Return a log in the format of the node's files, with `stdout F` after each time."""
    return b"".join(x.replace(b" ", b" stdout F ", 1) for x in log.splitlines(keepends=True))
