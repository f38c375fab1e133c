"""A session with one cluster: a connection pool with credentials, and plain JSON.

We do not use the clients of the `kubernetes` package: docs/explanation/architecture.md, Reading from the cluster. Its generated
methods also have no `sinceTime`, and a total timeout of 300 s.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from cortex_jupyter.cluster import KubeObject
from cortex_jupyter.cluster.configuration import TokenFile, configure, kubeconfig_of
from cortex_jupyter.errors import ClusterChanged, ClusterError, ClusterUnreachable, NoCluster, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cortex_jupyter.cluster.configuration import Configuration

#: Timeout for connecting (seconds).
CONNECT_S = 10.0
#: An answer must begin within this many seconds, and a document may not pause for longer. A followed log begins at once too,
#: because the kubelet flushes the headers before it waits for the first line (`GetContainerLogs` in
#: kubernetes/pkg/kubelet/kubelet_pods.go).
ANSWER_S = 20.0
#: A busy API server says when to ask again. A request is repeated for at most this many seconds.
_BUSY_S = 60.0
#: How often we check whether a replaced connection pool is still in use (seconds).
_DRAIN_S = 5.0
#: kubectl overwrites a kubeconfig in place (`WriteToFile` in client-go's tools/clientcmd/loader.go), so a reader may see a part
#: of it. If a context is missing, it is read again after this many seconds.
_WRITTEN_S = 1.0
#: A list is read in chunks of about this many bytes of JSON. Decoding blocks the whole process (20 ms for 2 MB, 400 ms for
#: the 23 MB of 1 000 pods), and takes several times as much memory as the text.
_CHUNK_BYTES = 2_000_000
#: Objects in the first chunk, before their size is known, and the maximum of later chunks (kubectl's `--chunk-size`).
_FIRST_CHUNK, _LARGEST_CHUNK = 100, 500
#: For documents. The API server compresses answers over 128 KiB for a client that accepts gzip (`APIResponseCompression`,
#: https://kubernetes.io/docs/reference/using-api/api-concepts/#response-compression).
_COMPRESSED = {"Accept-Encoding": "gzip"}
#: For streams of lines and of changes, since a compressor could hold a line back and small parts gain little. Also for
#: documents if the API server is in this cluster or on this machine.
_UNCOMPRESSED = {"Accept-Encoding": "identity"}


class ExpiredError(ClusterError):
    """The requested version is too old for the API server (410); read the list again."""


class Clock:
    """How far the API server's clock is ahead of ours, from the `Date` header of its answers.

    Each answer narrows the bounds: `Date` is cut to whole seconds, and the server wrote it while we waited.

    Examples
    --------
    >>> clock = Clock()
    >>> clock.update("Thu, 01 Jan 1970 00:01:00 GMT", 50.0, 50.2)
    >>> round(clock.offset, 3)
    10.4
    """

    def __init__(self) -> None:
        self._low = self._high = 0.0
        self._is_known = False

    @property
    def offset(self) -> float:
        """The offset in seconds; 0 before the first answer."""
        return (self._low + self._high) / 2

    def update(self, date: str | None, sent: float, answered: float) -> None:
        """Narrow the bounds by one answer.

        Parameters
        ----------
        date : str or None
            The `Date` header, if the answer has one.
        sent, answered : float
            When we sent the request and got the answer, by our clock (seconds since the Unix epoch).
        """
        try:
            server_time = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        low, high = server_time - answered, server_time + 1 - sent
        if self._is_known and max(low, self._low) <= min(high, self._high):
            low, high = max(low, self._low), min(high, self._high)
        # Otherwise a clock was set, or the clocks drift: only the newest answer counts.
        self._low, self._high, self._is_known = low, high, True


class Cluster:
    """A connection pool to one API server; open it with `Cluster.open`.

    A cluster keeps the kubeconfig, the context and the address that it was opened with; `kubectl config use-context` does not
    affect it. It reads the same context again if the server refuses the credentials (401), if they expire, and if the server
    cannot be reached and the kubeconfig has changed. If the address is still the same, it uses the new credentials,
    certificates and proxy from then on. If the address has changed, or the context is gone, this and every later request
    raises `ClusterChanged`, and neither server is sent the credentials of the other. Readers then open the cluster again with
    their next request (`Connection.refresh`). A recorder exits, because its tasks belong to the old cluster.

    Attributes
    ----------
    host : str
        The API server's URL.
    id : str
        The cluster's identity in a store: `name`, else `CORTEX_CLUSTER`, else `host`. In a pod a fingerprint of the cluster's certificate
        authority is appended, because many clusters have the same address there. Processes that share a store, but reach
        the API server by different addresses (a pod and a laptop, say), must set the same `CORTEX_CLUSTER`.
    namespace : str
        The default namespace of tasks: `CORTEX_NAMESPACE`, else the kubeconfig's, else the pod's own.
    name : str or None
        The name that it was opened with.
    kubeconfig, context : str or None
        Another process can open the same cluster with these.
    changed : asyncio.Event
        Set when the context is found to be for another cluster.
    """

    def __init__(self, configuration: Configuration, kubeconfig: str | None, name: str | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.name = name
        self.context = configuration.context
        self.host = configuration.host
        mark = f"#{configuration.authority}" if configuration.authority else ""
        self.id = name or os.environ.get("CORTEX_CLUSTER") or self.host + mark
        self.namespace = os.environ.get("CORTEX_NAMESPACE") or configuration.namespace
        self.clock = Clock()
        self.changed = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._renewing = asyncio.Lock()
        self._renewals, self._renewal_error = 0, ClusterError("")  # number of attempts, and why the last one failed
        self._generation = 0
        self._draining: set[asyncio.Task[None]] = set()
        self._adopt(configuration)

    @classmethod
    async def open(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        plugin_timeout_s: float | None = None,
        *,
        name: str | None = None,
    ) -> Self:
        """Read the configuration and return a session. This sends no request to the cluster.

        Parameters
        ----------
        kubeconfig : str, optional
            A path, or several as in `KUBECONFIG`. By default `KUBECONFIG`, else `~/.kube/config`, else the service account
            of the pod that we run in.
        context : str, optional
            The kubeconfig's context; its current one by default.
        plugin_timeout_s : float, optional
            How long a credential plugin may take (seconds); a minute by default.
        name : str, optional
            The cluster's identity in a store, for a process that reads several clusters.

        Raises
        ------
        NoCluster
            There is no kubeconfig and no service account, or it is invalid.
        """
        kubeconfig = kubeconfig_of(kubeconfig)
        return cls(await configure(kubeconfig, context, plugin_timeout_s), kubeconfig, name)

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
        """Read the configuration again, because a token has expired; a plugin or a file has a new one."""
        renewals = self._renewals
        async with self._renewing:
            if generation != self._generation:
                return  # another request has renewed it meanwhile
            if renewals != self._renewals:
                # The renewal has just failed for another request. A hanging plugin takes a minute, so do not repeat that for
                # each request that waits.
                raise self._renewal_error
            try:
                configuration = await self._read_again()
            except ClusterError as error:
                self._renewals, self._renewal_error = self._renewals + 1, error
                raise
            self._adopt(configuration)
            self._generation += 1
            # A client certificate may be new as well, and a pool keeps its TLS context. Responses that the old pool has open
            # go on; new requests use a new pool.
            replaced, self._session = self._session, None
            if replaced is not None:
                task = asyncio.create_task(_drain(replaced))
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
        """Read the configuration again if its files have changed; a recreated cluster has another certificate authority.

        Returns
        -------
        bool
            Whether to send the request again.

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
            return False  # the file is being written; report the failed request instead
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
        """Send a request and open the response to stream from. The caller checks its status.

        If the server is too busy (429), the request is repeated when the server says, for up to a minute. We do not ask for
        compression, but decompress an answer that a proxy has compressed.

        Parameters
        ----------
        path : str
            The path from `/api` or `/apis` on, already escaped.
        query : mapping, optional
        method, body
            For requests other than GET.
        read_timeout : float, optional
            Reading raises after this many seconds without a byte. There is no such limit by default, as a followed log needs.
        headers : mapping, optional
            Additional headers.

        Raises
        ------
        ClusterUnreachable
            There was no connection, or it broke or was silent for `ANSWER_S` before the status line.
        ClusterChanged
            The context has changed to another cluster since this one was opened.
        NoCluster
            New credentials cannot be read, because a plugin fails, for instance.
        """
        if self.changed.is_set():
            raise ClusterChanged(f"{self.host} is not asked: the kubeconfig's context is now for another cluster")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=read_timeout)
        options: dict[str, Any] = {"params": query, "timeout": timeout}
        if body is not None:
            options["data"] = orjson.dumps(body)
        request_headers = {"Accept": "application/json, */*", "Content-Type": "application/json"}
        request_headers |= _UNCOMPRESSED | dict(headers or {})
        try:
            renewed, waited = False, 0.0
            while True:
                generation = self._generation
                try:
                    response = await self._send(method, path, request_headers, options)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    if renewed or not await self._renew_if_outdated(generation):
                        raise
                    renewed = True
                    continue
                if response.status == 401 and not renewed:
                    response.release()
                    await self._renew(generation)
                    renewed = True
                elif response.status == 429 and (pause := _pause(response)) + waited <= _BUSY_S:
                    response.release()
                    await asyncio.sleep(pause * random.uniform(1, 1.5))  # noqa: S311 - no secret
                    waited += pause
                else:
                    break
        except aiohttp.ServerTimeoutError as error:
            raise ClusterUnreachable(f"{self.host} does not answer: {error}") from error
        except TimeoutError as error:
            raise ClusterUnreachable(f"{self.host} did not answer within {ANSWER_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            message, cause = _without_secrets(error)
            raise ClusterUnreachable(f"{self.host} does not answer: {message}") from cause
        try:
            yield response
        finally:
            response.close()

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], options: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        all_headers = [*headers.items(), *await self._headers()]
        configuration = self._configuration
        sent = time.time()
        async with asyncio.timeout(ANSWER_S):
            response = await self._pool().request(
                method,
                self.host + path,
                headers=all_headers,
                proxy=configuration.proxy,
                server_hostname=configuration.server_name,
                **options,
            )
        self.clock.update(response.headers.get("Date"), sent, time.time())
        return response

    async def json(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: object = None,
        accept: str = "application/json",
    ) -> Any:
        """Request one JSON document in the media type `accept` and return it.

        Raises
        ------
        NotFound, NotAllowed, ClusterError, ClusterUnreachable
            By the status of the answer, with the server's own message.
        """
        document, _ = await self._document(path, query, method, body, accept)
        return document

    async def read_list(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        cut: Callable[[KubeObject], KubeObject] = lambda item: item,
        accept: str = "application/json",
    ) -> tuple[list[KubeObject], str]:
        """Read a whole collection in chunks. They are consistent: all show the collection at the same moment.

        Parameters
        ----------
        path : str
            The collection.
        query : mapping, optional
            Selectors.
        cut : callable, optional
            Returns the part of an object to keep. A chunk is cut before the next one is read.
        accept : str, optional
            The media type to request.

        Returns
        -------
        list of dict, str
            The objects, and the version of the collection to watch from.

        Raises
        ------
        NotFound, NotAllowed, ClusterError, ClusterUnreachable

        Notes
        -----
        https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks. If we ask for a
        chunk too late (410), the list begins again; the third attempt reads it as a whole, as client-go's `tools/pager` does.
        """
        attempts = [_FIRST_CHUNK, _FIRST_CHUNK, 0]
        while True:
            limit, page, objects = attempts.pop(0), "", list[KubeObject]()
            try:
                while True:
                    chunk = {"limit": str(limit)} if limit else {}
                    chunk |= {"continue": page} if page else {}
                    document, size = await self._document(path, {**(query or {}), **chunk}, accept=accept)
                    objects += map(cut, document.get("items") or ())
                    page = document["metadata"].get("continue") or ""
                    if not page:
                        return objects, str(document["metadata"].get("resourceVersion") or "")
                    limit = max(1, min(limit * _CHUNK_BYTES // size, _LARGEST_CHUNK))
                    del document  # frees its memory before the next one is read
            except ExpiredError:
                if not page:
                    raise

    async def _document(
        self,
        path: str,
        query: Mapping[str, str] | None,
        method: str = "GET",
        body: object = None,
        accept: str = "application/json",
    ) -> tuple[Any, int]:
        """Read a JSON document; return it with its size in bytes."""
        encoding = _UNCOMPRESSED if self._configuration.is_near else _COMPRESSED
        async with self.request(
            path,
            query,
            method=method,
            body=body,
            read_timeout=ANSWER_S,
            headers=encoding | {"Accept": f"{accept}, */*"},
        ) as response:
            data = await self._read(response)
            if response.status >= 400:
                raise status_error(response.status, data)
        try:
            return orjson.loads(data), len(data)
        except ValueError as error:
            if response.content_type == "application/json":
                # A proxy can end an answer early without an HTTP error; only the text shows that the rest is missing.
                raise ClusterUnreachable(f"{self.host} broke off its answer after {len(data)} bytes") from error
            # For instance the login page of a proxy.
            text = data[:100].decode("utf-8", "replace")
            raise ClusterError(f"{self.host} does not answer as a Kubernetes API does: {text!r}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnreachable(f"{self.host} broke off its answer: {error or type(error).__name__}") from error


def _without_secrets(error: Exception) -> tuple[str, Exception | None]:
    """Return the message of a request's error, and the error to chain; None if it would reveal a password."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # The error itself quotes the proxy's URL with the password.
        return f"the proxy answers {error.status} {error.message}", None
    return str(error) or type(error).__name__, error


def _pause(response: aiohttp.ClientResponse) -> float:
    """Return how many seconds a busy server asks us to wait.

    API Priority and Fairness (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/) answers 429 with
    `Retry-After` in seconds. We wait at least one second, because a proxy may say 0.
    """
    seconds = response.headers.get("Retry-After", "")
    return max(float(seconds), 1.0) if seconds.isdecimal() else 1.0


async def _drain(session: aiohttp.ClientSession) -> None:
    """Close a pool when none of its connections is in use any more."""
    try:
        while getattr(session.connector, "_acquired", None):  # noqa: ASYNC110 - aiohttp has no event for it
            await asyncio.sleep(_DRAIN_S)
    finally:
        await session.close()


def status_error(status: int, body: bytes) -> ClusterError | NotAllowed | NotFound:
    """Return the error for an answer of the API server, with the message of its `Status` object.

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
