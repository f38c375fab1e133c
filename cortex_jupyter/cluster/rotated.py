"""The log files of a container as they lie on its node, rotated ones included.

`pods/log` never serves a rotated file (kubernetes#59902). The kubelet's own file server does, below
`/api/v1/nodes/NODE/proxy/logs/pods/`, to whoever may `get nodes/proxy`. It rotates `0.log` to `0.log.TIME`, then
compresses all but the newest to `0.log.TIME.gz` (pkg/kubelet/logs/container_log_manager.go).
"""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from typing import TYPE_CHECKING
from urllib.parse import unquote

import aiohttp

from cortex_jupyter.cluster.session import status_error
from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import ClusterError, ClusterUnreachable, NotFound

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import Source

_HREF = re.compile(rb'href="([^"?]+)"')
#: Seconds without a byte after which a file is given up.
_READ_S = 20.0
#: How often an answer is asked for that does not come or breaks off, and how long is waited before the second time, in
#: seconds; each further wait is twice as long.
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5


class RotatedFiles:
    """The rotated files of one run of a container.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    source : Source
    """

    def __init__(self, cluster: Cluster, namespace: str, source: Source) -> None:
        self._cluster = cluster
        folder = segment(f"{namespace}_{source.pod}_{source.pod_uid}")
        self._folder = f"/api/v1/nodes/{segment(source.node)}/proxy/logs/pods/{folder}/{segment(source.container)}/"
        self._run = source.run

    async def names(self) -> list[str]:
        """List them, oldest first.

        Raises
        ------
        NotAllowed
            `get nodes/proxy` is not granted.
        NotFound, ClusterError, ClusterUnreachable
        """
        listing = await self._get("")
        found = {unquote(m.decode()) for m in _HREF.findall(listing)}
        # A file that is being compressed is there as `.tmp` beside the plain one.
        mine = re.compile(rf"{self._run}\.log\.(\d{{8}}-\d{{6}})(\.gz)?\Z")
        whole = {m[1]: name for name in sorted(found, reverse=True) if (m := mine.match(name))}
        return [whole[stamp] for stamp in sorted(whole)]

    async def read(self, name: str) -> bytes:
        """Give a file's text, in the format of the container runtime interface.

        Raises
        ------
        NotFound
            It has been rotated away, or compressed, since it was listed.
        ClusterError
            It cannot be read.
        """
        data = await self._get(name)
        if not name.endswith(".gz"):
            return data
        try:
            return await asyncio.to_thread(gzip.decompress, data)
        except (OSError, EOFError, zlib.error) as error:
            raise ClusterError(f"the node's {name} is no whole gzip file: {error}") from error

    async def tail(self, name: str, size: int) -> bytes:
        """Give about the last `size` bytes of a file's text; of a compressed one all is read.

        Raises
        ------
        NotFound, ClusterError
            As `read`.
        """
        if name.endswith(".gz"):
            return (await self.read(name))[-size:]
        return (await self._get(name, {"Range": f"bytes=-{size}"}))[-size:]

    async def _get(self, name: str, headers: dict[str, str] | None = None) -> bytes:
        """Read a file or the listing; an answer that breaks off is asked for again, as what is missed here is missed for good."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._ask(name, headers)
            except ClusterUnreachable:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_FIRST_WAIT_S * 2**attempt)
        raise AssertionError

    async def _ask(self, name: str, headers: dict[str, str] | None) -> bytes:
        path = self._folder + (segment(name) if name else "")
        async with self._cluster.request(path, read_timeout=_READ_S, headers=headers) as response:
            try:
                data = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise ClusterUnreachable(f"the node broke off {name or 'its listing'}: {error}") from error
            if response.status == 404:  # noqa: PLR2004
                raise NotFound(f"the node has no {name or 'such folder'}")
            if response.status >= 400:  # noqa: PLR2004
                raise status_error(response.status, data)
        return data
