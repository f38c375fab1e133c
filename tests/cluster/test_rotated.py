"""Rotated files are read over an unreliable network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from support.hand import source

from cortex_jupyter.cluster import rotated as lib
from cortex_jupyter.cluster.rotated import RotatedFiles
from cortex_jupyter.errors import ClusterUnreachable

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

FOLDER = "/api/v1/nodes/n1/proxy/logs/pods/team_pod-1_uid-1/main/"


async def test_an_answer_that_breaks_off_is_requested_again(
    api: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving up at once would make a gap, or leave older lines unread."""
    monkeypatch.setattr(lib, "_FIRST_WAIT_S", 0.01)
    breaks = 0

    async def listing(request: web.Request) -> web.StreamResponse:
        nonlocal breaks
        breaks += 1
        if breaks % 3:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(text='<a href="0.log.20260101-000000">0.log.20260101-000000</a>')

    api.objects[FOLDER] = listing
    files = RotatedFiles(cluster, "team", source())
    assert await files.names() == ["0.log.20260101-000000"]
    assert breaks == 3

    async def never(request: web.Request) -> web.StreamResponse:
        nonlocal breaks
        breaks = 0
        return await listing(request)

    api.objects[FOLDER] = never
    with pytest.raises(ClusterUnreachable, match="broke off its listing"):
        await files.names()
