"""The connections to one Valkey server, its scripts, and the checks that it is fit to keep recordings."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import valkey
from valkey.backoff import NoBackoff
from valkey.exceptions import ConnectionError as NoConnection
from valkey.exceptions import NoScriptError, ReadOnlyError
from valkey.retry import Retry

from cortex_jupyter.errors import StoreBusy, StoreError
from cortex_jupyter.store import HEARTBEAT_S
from cortex_jupyter.store.valkey.error_mapping import errors, too_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store.valkey.address import Address

#: A server that has not answered for this many seconds is out of reach.
_TIMEOUT_S: Final = 5.0
#: Seconds between checks that the store's form is one that we know. Scripts that write check it each time, so a
#: recorder, whose heartbeats write each second, makes no extra requests.
_CHECK_S: Final = 2.0
#: How long a commit waits for replicas, in ms.
_WAIT_MS: Final = 3000
#: Version of the store's form; see `guard.lua`.
VERSION: Final = 1
#: Flags of scripts (https://valkey.io/topics/eval-intro/#eval-flags): scripts that only read, and scripts that must
#: work when memory is full. With full memory the server refuses all others before they begin.
_FLAGS: Final = dict.fromkeys(
    ("infos", "wanted", "requests", "entries", "entry", "oldest", "usage", "holders", "recorder", "may_record"),
    "no-writes",
) | dict.fromkeys(
    (
        "commit_notice",
        "beat",
        "lease",
        "want",
        "request",
        "forget",
        "forget_empty",
        "leave",
        "release",
        "merge",
        "trim",
        "delete",
    ),
    "allow-oom",
)


@cache
def _script(name: str) -> tuple[str, str]:
    """Return a script and its SHA1, the key of the server's cache. `commit_notice` is `commit` with another flag."""
    folder = resources.files("cortex_jupyter.store.valkey") / "scripts"
    body = (folder / f"{'commit' if name == 'commit_notice' else name}.lua").read_text()
    flags = _FLAGS.get(name, "")
    guard = "" if flags == "no-writes" else f"local VERSION = {VERSION}\n{(folder / 'guard.lua').read_text()}"
    heartbeat = f"local HEARTBEAT = {HEARTBEAT_S * 1000:.0f}\n"
    text = f"#!lua flags={flags}\n{heartbeat}{(folder / 'common.lua').read_text()}{guard}{body}"
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Link:
    """Sends commands and scripts to the server; safe to use from any thread.

    Parameters
    ----------
    address : Address

    Raises
    ------
    StoreError
        The server is out of reach, or not fit to keep recordings.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._url = address.url  # computed once, not for each request
        tls = {"ssl": True, "ssl_ca_certs": address.ca or None, "ssl_check_hostname": True} if address.tls else {}
        self.client = valkey.Valkey(
            address.host,
            address.port,
            address.database,
            username=address.user or None,
            password=address.password or None,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S / 2,
            socket_keepalive=True,
            client_name="cortex-jupyter",
            # One retry over a new connection: each of our requests may be repeated. The client only retries errors in
            # the list.
            retry=Retry(NoBackoff(), 1, (NoConnection,)),
            retry_on_error=[NoConnection],
            **tls,
        )
        self._closed = False
        self._checked_at = float("-inf")  # monotonic
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections; nothing can be asked afterwards."""
        self._closed = True
        self.client.close()

    def ask(self, *command: object) -> Any:
        """Return the answer to one command.

        Raises
        ------
        StoreError
        """
        return self._do(lambda: self.client.execute_command(*command))

    def call(self, script: str, *arguments: object) -> Any:
        """Run one of our scripts and return its answer.

        Raises
        ------
        StoreError
        """
        text, sha = _script(script)

        def run() -> Any:
            try:
                return self.client.evalsha(sha, 0, *arguments)
            except NoScriptError:
                return self.client.eval(text, 0, *arguments)

        return self._do(run, guarded=_FLAGS.get(script) != "no-writes")

    def secured(self, script: str, *arguments: object) -> Any:
        """Return a script's answer once the required number of replicas has what it wrote.

        Raises
        ------
        StoreBusy
            Too few replicas have it yet.
        StoreError
        """
        if not self.address.replicas:
            return self.call(script, *arguments)
        text, sha = _script(script)

        def run() -> tuple[Any, int]:
            # `WAIT` waits for writes of its own connection only.
            for command in (("EVALSHA", sha), ("EVAL", text)):
                pipe = self.client.pipeline(transaction=False)
                pipe.execute_command(*command, 0, *arguments)
                pipe.execute_command("WAIT", self.address.replicas, _WAIT_MS)
                done, have = pipe.execute(raise_on_error=False)
                if isinstance(done, NoScriptError):
                    continue
                for answer in (done, have):
                    if isinstance(answer, Exception):
                        raise answer
                return done, have
            raise AssertionError

        done, have = self._do(run, guarded=True)
        if have < self.address.replicas:
            raise StoreBusy(
                f"{have} of {self.address.replicas} replicas of {self._url} have confirmed what was written",
                "bring the replicas back; recording goes on by itself, and loses nothing that the cluster still has",
            )
        return done

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of the server's INFO."""
        answer: dict[str, Any] = self._do(lambda: self.client.info(section))
        return answer

    def _do(self, call: Callable[[], Any], *, guarded: bool = False) -> Any:
        if self._closed:
            raise self._closed_error()
        with errors(self._url):
            try:
                if not guarded and time.monotonic() - self._checked_at > _CHECK_S:
                    self._check_form()
                answer = call()
            except ReadOnlyError:
                # It was the primary. A new connection finds the server that is primary now.
                self.client.connection_pool.disconnect(inuse_connections=False)
                raise
            except (ValueError, AttributeError) as error:
                if not self._closed:
                    raise
                raise self._closed_error() from error  # closed while this thread waited for an answer: the client's buffer is gone
        if guarded:  # the script has checked the form
            self._checked_at = time.monotonic()
        return answer

    def _closed_error(self) -> StoreError:
        return StoreError(f"the store {self._url} has been closed")

    def _prepare(self) -> None:
        url = self._url
        server = self.info("server")
        if int(str(server.get("redis_version", "0")).split(".")[0]) < 7:  # flags of scripts
            raise StoreError(f"{url} runs a server that is too old", "use Valkey, or Redis 7.0 or newer")
        if server.get("redis_mode", server.get("server_mode")) == "cluster":
            raise StoreError(f"{url} is a cluster", "use a server on its own, with replicas for safety")
        if self.info("replication").get("role") != "master":
            raise StoreError(
                f"{url} is a read-only replica", "set CORTEX_STORE to the primary, or a name that follows it"
            )
        policy = str(self.info("memory").get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            raise StoreError(
                f"{url} evicts recordings when its memory is full (maxmemory-policy {policy})",
                "CONFIG SET maxmemory-policy noeviction, also in its configuration file",
            )

    def _check_form(self) -> None:
        form = self.client.get("cortex:version")
        if form is not None and int(form.split()[-1]) > VERSION:
            raise too_new(self._url, form.decode())
        self._checked_at = time.monotonic()
