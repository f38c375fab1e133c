"""The rotated log files of a container on its node.

`pods/log` never serves a rotated file (kubernetes#59902). The kubelet's own file server serves them below
`/api/v1/nodes/NODE/proxy/logs/pods/` to users with the right `get nodes/proxy`. The kubelet renames `0.log` to `0.log.TIME`,
then compresses all but the newest to `0.log.TIME.gz` (pkg/kubelet/logs/container_log_manager.go).
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
#: Reading fails after this many seconds without a byte.
_READ_S = 20.0
#: A request is sent at most this many times if its answer does not come or breaks off.
_ATTEMPTS = 5
#: Pause before the second attempt (seconds). Each further pause is twice as long.
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
        """Return the names of the files, oldest first.

        Raises
        ------
        NotAllowed
            `get nodes/proxy` is not granted.
        NotFound, ClusterError, ClusterUnreachable
        """
        listing = await self._get("")
        names = {unquote(m.decode()) for m in _HREF.findall(listing)}
        # While the kubelet compresses a file, the folder has a `.tmp` file beside the plain one.
        pattern = re.compile(rf"{self._run}\.log\.(\d{{8}}-\d{{6}})(\.gz)?\Z")
        by_time = {m[1]: name for name in sorted(names, reverse=True) if (m := pattern.match(name))}
        return [by_time[stamp] for stamp in sorted(by_time)]

    async def read(self, name: str) -> bytes:
        """Return a file's text, in the format of the container runtime interface.

        Raises
        ------
        NotFound
            The kubelet has removed or compressed the file since it was listed.
        ClusterError
            The file cannot be read.
        """
        data = await self._get(name)
        if not name.endswith(".gz"):
            return data
        try:
            return await asyncio.to_thread(gzip.decompress, data)
        except (OSError, EOFError, zlib.error) as error:
            raise ClusterError(f"the node's {name} is not a complete gzip file: {error}") from error

    async def tail(self, name: str, size: int) -> bytes:
        """Return about the last `size` bytes of a file's text. A compressed file is read as a whole.

        Raises
        ------
        NotFound, ClusterError
            As for `read`.
        """
        if name.endswith(".gz"):
            return (await self.read(name))[-size:]
        return (await self._get(name, {"Range": f"bytes=-{size}"}))[-size:]

    async def _get(self, name: str, headers: dict[str, str] | None = None) -> bytes:
        """Read a file or the listing, and try again if the answer breaks off: lines missed here are missed for good."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._request(name, headers)
            except ClusterUnreachable:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_FIRST_WAIT_S * 2**attempt)
        raise AssertionError

    async def _request(self, name: str, headers: dict[str, str] | None) -> bytes:
        path = self._folder + (segment(name) if name else "")
        async with self._cluster.request(path, read_timeout=_READ_S, headers=headers) as response:
            try:
                data = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise ClusterUnreachable(f"the node broke off {name or 'its listing'}: {error}") from error
            if response.status == 404:
                raise NotFound(f"the node has no {name or 'such folder'}")
            if response.status >= 400:
                raise status_error(response.status, data)
        return data
