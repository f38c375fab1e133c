"""A session with one cluster: a connection pool with credentials, and raw JSON.

No client of the `kubernetes` package is used, and deliberately: its `Watch` re-reads pod logs for ever, its generated
methods have no `sinceTime` and a total timeout of 300 s, and its models cost 270 ms for 500 pods where `json.loads` costs
2 ms (`research/jupyter.md` section 5.2). Nothing here may be imported at package level elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from cortex_jupyter.cluster.clock import Clock
from cortex_jupyter.cluster.configuration import TokenFile, configure, kubeconfig_of
from cortex_jupyter.errors import ClusterChanged, ClusterError, ClusterUnreachable, NoCluster, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cortex_jupyter.cluster.configuration import Configuration

#: Connecting may take this long, seconds.
CONNECT_S = 10.0
#: An answer must begin within this many seconds, and a document may not pause for longer. A followed log begins at once as
#: well: the kubelet flushes the headers before it waits for the first line (`GetContainerLogs` in
#: kubernetes/pkg/kubelet/kubelet_pods.go).
ANSWER_S = 20.0
#: An API server that is too busy says after how long to ask again; so long at most, seconds, one request does.
_BUSY_S = 60.0
#: How often, seconds, a pool that is no longer used is looked at.
_DRAIN_S = 5.0
#: kubectl does not replace a kubeconfig, it writes over it: what is missing from it is looked for again after this time, in
#: seconds (`WriteToFile` in client-go's tools/clientcmd/loader.go).
_WRITTEN_S = 1.0
#: A list is read in chunks of about this many bytes of JSON. Decoding holds up the whole process (20 ms for 2 MB, 400 ms for
#: the 23 MB of 1 000 pods), and takes several times as much memory as the text.
_CHUNK_BYTES = 2_000_000
#: The objects of the first chunk, of which nothing is known, and the most that later ones have (kubectl's `--chunk-size`).
_FIRST_CHUNK, _LARGEST_CHUNK = 100, 500
#: For documents. The API server compresses answers over 128 KiB for a client that accepts gzip (`APIResponseCompression`,
#: https://kubernetes.io/docs/reference/using-api/api-concepts/#response-compression).
_COMPRESSED = {"Accept-Encoding": "gzip"}
#: For streams of logs and of changes, and where the API server is near: in this cluster, or on this machine. No compressor may hold a line back, and small parts gain little.
_UNCOMPRESSED = {"Accept-Encoding": "identity"}


class ExpiredError(ClusterError):
    """What is asked for is older than what the API server still knows (410); read the list again."""


class Cluster:
    """A connection pool to one API server; open it with `Cluster.open`.

    It belongs to the kubeconfig, the context and the address that it was opened with: `kubectl config use-context` changes
    nothing for it. When the server refuses the credentials (401), when they expire, and when the server cannot be reached
    while the kubeconfig has changed, the same context is read again. Where it has the same address, its credentials,
    certificates and proxy are used from then on. Where it has another, or is gone, `ClusterChanged` is raised, now and for
    each later request, and neither server is sent the credentials of the other. Whoever holds this object for long
    opens the cluster anew then: readers at their next question (`Connection.refresh`), and a recorder ends, for it
    records what the other cluster had.

    Attributes
    ----------
    host : str
        The API server's URL.
    id : str
        What identifies the cluster in a store: `CORTEX_CLUSTER`, else `host`, in a pod with a fingerprint of the
        cluster's certificate authority behind it, for there the address is the same in many clusters. Where a store is
        shared by processes that reach the API server by different addresses (a pod does it by another than a laptop), all
        set the same.
    namespace : str
        What holds where a task names none: `CORTEX_NAMESPACE`, else the kubeconfig's, else the pod's own.
    kubeconfig, context : str or None
        With these another process opens the same cluster.
    changed : asyncio.Event
        Set when the context has turned out to be for another cluster.
    """

    def __init__(self, configuration: Configuration, kubeconfig: str | None) -> None:
        self.kubeconfig = kubeconfig
        self.context = configuration.context
        self.host = configuration.host
        mark = f"#{configuration.authority}" if configuration.authority else ""
        self.id = os.environ.get("CORTEX_CLUSTER") or self.host + mark
        self.namespace = os.environ.get("CORTEX_NAMESPACE") or configuration.namespace
        self.clock = Clock()
        self.changed = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._renewing = asyncio.Lock()
        self._renewals, self._renewal_error = 0, ClusterError("")  # attempts so far, and why the last one failed
        self._generation = 0
        self._draining: set[asyncio.Task[None]] = set()
        self._adopt(configuration)

    @classmethod
    async def open(
        cls, kubeconfig: str | None = None, context: str | None = None, plugin_timeout_s: float | None = None
    ) -> Self:
        """Read the configuration and make a session; nothing is asked of the cluster yet.

        Parameters
        ----------
        kubeconfig : str, optional
            A path, or several as in `KUBECONFIG`; else `KUBECONFIG`, else `~/.kube/config`, else the service account of the
            pod we run in.
        context : str, optional
            The kubeconfig's context; else its current one.
        plugin_timeout_s : float, optional
            How long a credential plugin may take; else a minute.

        Raises
        ------
        NoCluster
            There is none of these, or it cannot be used.
        """
        kubeconfig = kubeconfig_of(kubeconfig)
        return cls(await configure(kubeconfig, context, plugin_timeout_s), kubeconfig)

    def _adopt(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._token = TokenFile(configuration.token_file) if configuration.token_file else None

    async def close(self) -> None:
        """Close every connection."""
        for task in tuple(self._draining):
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._configuration.tls
            connector = aiohttp.TCPConnector(limit=0, ssl=tls) if tls else aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def _headers(self) -> list[tuple[str, str]]:
        if time.time() >= self._configuration.expires:
            await self._renew(self._generation)
        headers = self._configuration.headers
        return [*headers, await self._token.header()] if self._token else [*headers]

    async def _renew(self, generation: int) -> None:
        """Read the configuration again: a token has expired, a plugin or a file has a new one."""
        asked = self._renewals
        async with self._renewing:
            if generation != self._generation:
                return  # another request has done it meanwhile
            if asked != self._renewals:
                # It has just failed for another request. A plugin that hangs takes a minute: not one for each that waits.
                raise self._renewal_error
            try:
                configuration = await self._read_again()
            except ClusterError as error:
                self._renewals, self._renewal_error = self._renewals + 1, error
                raise
            self._adopt(configuration)
            self._generation += 1
            # A client certificate may be new as well, and a pool keeps its TLS context. What the old one has open goes
            # on; nothing new is asked of it.
            old, self._session = self._session, None
            if old is not None:
                task = asyncio.create_task(_drain(old))
                self._draining.add(task)
                task.add_done_callback(self._draining.discard)

    async def _read_again(self) -> Configuration:
        try:
            return await configure(self.kubeconfig, self.context, host=self.host)
        except ClusterChanged:
            await asyncio.sleep(_WRITTEN_S)
        try:
            return await configure(self.kubeconfig, self.context, host=self.host)
        except ClusterChanged:
            self.changed.set()
            raise

    async def _renew_if_outdated(self, generation: int) -> bool:
        """Read the configuration again where its files have changed; a cluster that was created anew has another authority.

        Returns
        -------
        bool
            Whether to ask once more.

        Raises
        ------
        ClusterChanged
        """
        if generation == self._generation and not await asyncio.to_thread(self._configuration.is_outdated):
            return False
        try:
            await self._renew(generation)
        except ClusterChanged:
            raise
        except NoCluster:
            return False  # it is being written; that there is no answer counts more
        return True

    @asynccontextmanager
    async def request(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: object = None,
        read_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a response to stream from; its status is whatever the server said.

        Where it says that it is too busy (429) it is asked again when it wishes, for a minute. We ask for no compression;
        what comes compressed all the same, because of a proxy, is decompressed.

        Parameters
        ----------
        path : str
            From `/api` or `/apis` on, already escaped.
        query : mapping, optional
        method, body
            For the few requests that are no GET.
        read_timeout : float, optional
            Seconds without a byte after which reading raises; none by default, as for a followed log.
        headers : mapping, optional
            More of them.

        Raises
        ------
        ClusterUnreachable
            No connection, or it broke or was silent for `ANSWER_S` before the status line.
        ClusterChanged
            The context is for another cluster than when this one was opened.
        NoCluster
            There are no new credentials: a plugin fails, for instance.
        """
        if self.changed.is_set():
            raise ClusterChanged(f"{self.host} is not asked: the kubeconfig's context is for another cluster by now")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=read_timeout)
        options: dict[str, Any] = {"params": query, "timeout": timeout}
        if body is not None:
            options["data"] = orjson.dumps(body)
        sent = {"Accept": "application/json, */*", "Content-Type": "application/json"}
        sent |= _UNCOMPRESSED | dict(headers or {})
        try:
            renewed, waited = False, 0.0
            while True:
                generation = self._generation
                try:
                    response = await self._ask(method, path, sent, options)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    if renewed or not await self._renew_if_outdated(generation):
                        raise
                    renewed = True
                    continue
                if response.status == 401 and not renewed:  # noqa: PLR2004
                    response.release()
                    await self._renew(generation)
                    renewed = True
                elif response.status == 429 and (pause := _pause(response)) + waited <= _BUSY_S:  # noqa: PLR2004
                    response.release()
                    await asyncio.sleep(pause * random.uniform(1, 1.5))  # noqa: S311
                    waited += pause
                else:
                    break
        except aiohttp.ServerTimeoutError as error:
            raise ClusterUnreachable(f"{self.host} does not answer: {error}") from error
        except TimeoutError as error:
            raise ClusterUnreachable(f"{self.host} did not answer within {ANSWER_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            words, cause = _shown(error)
            raise ClusterUnreachable(f"{self.host} does not answer: {words}") from cause
        try:
            yield response
        finally:
            response.close()

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], options: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        sent = [*headers.items(), *await self._headers()]
        configuration = self._configuration
        asked = time.time()
        async with asyncio.timeout(ANSWER_S):
            response = await self._pool().request(
                method,
                self.host + path,
                headers=sent,
                proxy=configuration.proxy,
                server_hostname=configuration.server_name,
                **options,
            )
        self.clock.heard(response.headers.get("Date"), asked, time.time())
        return response

    async def json(
        self, path: str, query: Mapping[str, str] | None = None, *, method: str = "GET", body: object = None
    ) -> Any:
        """Ask for one JSON document.

        Raises
        ------
        NotFound, NotAllowed, ClusterError, ClusterUnreachable
            As the status says; the message is the server's own.
        """
        document, _ = await self._document(path, query, method, body)
        return document

    async def read_list(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        cut: Callable[[dict[str, Any]], dict[str, Any]] = lambda item: item,
    ) -> tuple[list[dict[str, Any]], str]:
        """Read a whole collection, in chunks; all of them are of one moment.

        Parameters
        ----------
        path : str
            The collection.
        query : mapping, optional
            Selectors.
        cut : callable, optional
            Gives of each object the part that is kept. A chunk is cut before the next is read.

        Returns
        -------
        list of dict, str
            The objects, and the version of the collection to watch from.

        Raises
        ------
        NotFound, NotAllowed, ClusterError, ClusterUnreachable

        Notes
        -----
        https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks. When a chunk
        comes too late (410) the list begins again, the third time as a whole, as client-go's `tools/pager` does.
        """
        attempts = [_FIRST_CHUNK, _FIRST_CHUNK, 0]
        while True:
            limit, page, objects = attempts.pop(0), "", list[dict[str, Any]]()
            try:
                while True:
                    chunk = {"limit": str(limit)} if limit else {}
                    chunk |= {"continue": page} if page else {}
                    document, size = await self._document(path, {**(query or {}), **chunk})
                    objects += map(cut, document.get("items") or ())
                    page = document["metadata"].get("continue") or ""
                    if not page:
                        return objects, str(document["metadata"].get("resourceVersion") or "")
                    limit = max(1, min(limit * _CHUNK_BYTES // size, _LARGEST_CHUNK))
                    del document  # before the next one comes
            except ExpiredError:
                if not page:
                    raise

    async def _document(
        self, path: str, query: Mapping[str, str] | None, method: str = "GET", body: object = None
    ) -> tuple[Any, int]:
        """Read a JSON document; return it with its size in bytes."""
        encoding = _UNCOMPRESSED if self._configuration.is_near else _COMPRESSED
        async with self.request(
            path, query, method=method, body=body, read_timeout=ANSWER_S, headers=encoding
        ) as response:
            data = await self._read(response)
            if response.status >= 400:  # noqa: PLR2004
                raise status_error(response.status, data)
        try:
            return orjson.loads(data), len(data)
        except ValueError as error:
            if response.content_type == "application/json":
                # A proxy can end an answer early and yet properly; only its text shows that the rest is missing.
                raise ClusterUnreachable(f"{self.host} broke off its answer after {len(data)} bytes") from error
            # A login page of some proxy.
            text = data[:100].decode("utf-8", "replace")
            raise ClusterError(f"{self.host} does not answer as a Kubernetes API does: {text!r}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnreachable(f"{self.host} broke off its answer: {error or type(error).__name__}") from error


def _shown(error: Exception) -> tuple[str, Exception | None]:
    """Return the words of an error of a request, and the error unless its own words must not be shown."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy says {error.status} {error.message}", None  # it quotes the proxy's URL with the password
    return str(error) or type(error).__name__, error


def _pause(response: aiohttp.ClientResponse) -> float:
    """Give how long a server that is too busy asks us to wait, seconds.

    https://kubernetes.io/docs/concepts/cluster-administration/flow-control/ rejects with 429 and `Retry-After`, as seconds.
    At least one: a proxy may say 0.
    """
    said = response.headers.get("Retry-After", "")
    return max(float(said), 1.0) if said.isdecimal() else 1.0


async def _drain(session: aiohttp.ClientSession) -> None:
    """Close a pool when nothing of it is in use any more."""
    try:
        while getattr(session.connector, "_acquired", None):  # noqa: ASYNC110 - nothing tells when it is
            await asyncio.sleep(_DRAIN_S)
    finally:
        await session.close()


def status_error(status: int, body: bytes) -> ClusterError | NotAllowed | NotFound:
    """Give the error for an answer of the API server, with the message of its `Status` object.

    Parameters
    ----------
    status : int
        The HTTP status.
    body : bytes
        A `Status` object as JSON, or any text.
    """
    try:
        message = str(orjson.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:500].decode("utf-8", "replace").strip() or f"the cluster answered with status {status}"
    match status:
        case 401:
            return NotAllowed(
                f"the cluster does not know who you are: {message}", "log in again: the token has expired"
            )
        case 403:
            return NotAllowed(message)
        case 404:
            return NotFound(message)
        case 410:
            return ExpiredError(message)
    return ClusterError(message)
