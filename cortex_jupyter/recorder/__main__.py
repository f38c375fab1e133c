"""The recorder process: `python -m cortex_jupyter.recorder`, the same as `cortex-jupyter record`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import ClusterChanged, CortexError, StoreBusy, StoreError
from cortex_jupyter.parsing.masking import rules
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process.health import LOOPBACK, Health
from cortex_jupyter.recorder.process.launch import credentials_id, log_path
from cortex_jupyter.recorder.recorder import IDLE_S, Recorder
from cortex_jupyter.recorder.source.stream_limiter import MAX_STREAMS, MAX_STREAMS_PER_NODE, StreamLimiter
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.store import absolute_archive, default_url, is_shared
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.configuration import check_settings
from cortex_jupyter.store.masking import configure_masking, requested_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import adopt_settings, read_lock
from cortex_jupyter.telemetry import logs, recorder_metrics, tracing

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import SettingsStore, Store

_log = logging.getLogger("cortex_jupyter.recorder")  # named explicitly: run as a program this module is `__main__`

_RECORDER_HINT = "use a user that may record, as `recorder` in docs/how-to/valkey-users.acl"


def parser() -> argparse.ArgumentParser:
    """Return the recorder's command line parser."""
    result = argparse.ArgumentParser(
        "cortex-jupyter record", description="Record tasks while readers want them, or all tasks."
    )
    result.add_argument("--store", metavar="URL", help="where recordings are kept (default: CORTEX_STORE)")
    result.add_argument("--kubeconfig", metavar="PATH")
    result.add_argument("--context", metavar="NAME")
    result.add_argument(
        "--idle",
        type=float,
        default=IDLE_S,
        metavar="S",
        help="end after S seconds without work (default: %(default)g)",
    )
    selecting = result.add_argument_group("tasks to record without being asked (default: what readers want)")
    selecting.add_argument(
        "--all",
        action="store_true",
        help="record all Jobs and bare pods from their first line on; never ends when idle",
    )
    selecting.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="with --all: only tasks of this namespace; may be given several times",
    )
    selecting.add_argument(
        "-l", "--selector", default="", metavar="SELECTOR", help="with --all: only tasks whose pods have these labels"
    )
    result.add_argument(
        "--streams",
        type=int,
        default=MAX_STREAMS,
        metavar="N",
        help="read at most N logs at once; more take turns (default: %(default)s)",
    )
    result.add_argument(
        "--streams-per-node",
        type=int,
        default=MAX_STREAMS_PER_NODE,
        metavar="N",
        help="read at most N logs of one node at once (default: %(default)s)",
    )
    result.add_argument("--port", type=int, metavar="N", help="serve /metrics, /healthz and /readyz on this port")
    result.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="with --port: listen on this address, or on all with '*' (default: %(default)s)",
    )
    installing = result.add_argument_group("print a Deployment of the recorder, with everything that it needs")
    installing.add_argument(
        "--manifests",
        action="store_true",
        help="print a collector with --all and the other options as given, as YAML; settings of the environment "
        "(CORTEX_MASK, CORTEX_STORE_MAX_..., CORTEX_CLUSTER) are printed too",
    )
    installing.add_argument(
        "--into", metavar="NS", help="the namespace of the Deployment (default: the first -n, else cortex-jupyter)"
    )
    installing.add_argument(
        "--image",
        metavar="IMAGE",
        default=f"cortex-jupyter:{__version__}",
        help="an image that contains this package (default: %(default)s)",
    )
    installing.add_argument("--replicas", type=int, default=2, metavar="N")
    installing.add_argument(
        "--secret",
        default="cortex-jupyter",
        metavar="NAME",
        help="the Secret with the keys store, password, archive (default: %(default)s)",
    )
    installing.add_argument(
        "--nodes-proxy", action="store_true", help="grant the right to read rotated files on the nodes"
    )
    installing.add_argument("--policy-beta", action="store_true", help="print objects for Kubernetes before 1.21")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Record tasks while readers want them, or all tasks; or print manifests.

    Parameters
    ----------
    arguments : list of str, optional
        In place of the command line's.

    Returns
    -------
    int
        The exit code: 0, or 1 with a message on stderr.
    """
    cli = parser()
    options = cli.parse_args(arguments)
    if options.manifests:
        try:
            sys.stdout.write(_manifests(options))
        except CortexError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0
    if (options.namespace or options.selector) and not options.all:
        cli.error("--namespace and --selector restrict --all: add --all")
    try:
        logs.begin(_log_file(options.store or default_url()))
        tracing.begin("cortex-jupyter-recorder")
        asyncio.run(_record(options))
    except CortexError as error:
        _log.error("%s", error)
        return 1
    except asyncio.CancelledError:
        pass
    _log.info("ended")
    return 0


def _log_file(url: str) -> Path | None:
    with contextlib.suppress(OSError, StoreError):
        return log_path(url)
    return None  # its folder cannot be created, so no program of ours has started us with this file


def _manifests(options: argparse.Namespace) -> str:
    # Imported here, because only this needs YAML.
    from cortex_jupyter.recorder.collector.manifests import PORT, STORE_PORT, InstallOptions, manifests

    _startup_settings()  # a wrong one must not be found in the cluster only
    store_url = options.store or os.environ.get("CORTEX_STORE", "")
    namespaces = tuple(options.namespace)
    namespace = options.into or next(iter(namespaces), "cortex-jupyter")
    install = InstallOptions(
        namespace=namespace,
        namespaces=namespaces,
        selector=options.selector,
        streams=_unless(options.streams, MAX_STREAMS),
        streams_per_node=_unless(options.streams_per_node, MAX_STREAMS_PER_NODE),
        image=options.image,
        replicas=options.replicas,
        secret=options.secret,
        port=options.port or PORT,
        store_port=(urlsplit(store_url).port or STORE_PORT) if is_shared(store_url) else None,
        nodes_proxy=options.nodes_proxy,
        policy_beta=options.policy_beta,
    )
    return manifests(install)


def _unless(value: int, default: int) -> int | None:
    return None if value == default else value


async def _record(options: argparse.Namespace) -> None:
    # Imported late: it takes 0.3 s, and `--help` or `--manifests` do not need it.
    from cortex_jupyter.cluster.session import Cluster

    task = asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        _log.info("got %s: writing what was read, and leaving the tasks to other recorders", number.name)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, end, number)
    settings = _startup_settings()
    health = Health(options.port or 0)
    async with contextlib.AsyncExitStack() as stack:
        if health.port:
            from cortex_jupyter.recorder.process.endpoint import serving  # only with --port

            await stack.enter_async_context(serving(health, options.host))
        store = await _open_store(options, health)
        stack.callback(store.close)
        if await asyncio.to_thread(store.is_reader):
            raise StoreError(f"this user of {store.url} may only read recordings, not write them", _RECORDER_HINT)
        await asyncio.to_thread(_store_settings, store, settings, administrator=options.all)
        if await asyncio.to_thread(configure_masking, store):
            rules()  # fail before anything is stored: lines that were stored unmasked stay so
        async with await Cluster.open(options.kubeconfig, options.context) as cluster:
            _log.info("version %s records the tasks of %s into %s", __version__, cluster.id, store.url)
            namespaces = tuple(options.namespace)
            selection = (
                Selection(cluster, store, namespaces=namespaces, selector=options.selector, health=health)
                if options.all
                else None
            )
            limiter = StreamLimiter(options.streams, options.streams_per_node)
            recorder_metrics.WAITING.set_function(limiter.waiting)
            credentials = credentials_id(options.kubeconfig, cluster.context)
            recorder = Recorder(
                store,
                cluster,
                idle=options.idle,
                selection=selection,
                limiter=limiter,
                health=health,
                start_settings=settings,
                rights=credentials,
            )
            await _run_until_cluster_changes(recorder.run(), cluster)


async def _run_until_cluster_changes(run: Coroutine[Any, Any, None], cluster: Cluster) -> None:
    """Record until the recorder ends by itself, or the kubeconfig's context names another cluster.

    Raises
    ------
    ClusterChanged
    """
    running, changed = asyncio.create_task(run), asyncio.create_task(cluster.changed.wait())
    try:
        await asyncio.wait((running, changed), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClusterChanged(
                f"{cluster.host} is not recorded any more: the kubeconfig's context is for another cluster"
            )
    finally:
        changed.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _startup_settings() -> dict[str, str]:
    """Check all settings, and return those that the store keeps.

    Raises
    ------
    BadQuery
    """
    check_settings()
    settings = Budget.from_environment().changed_settings(Budget()) | {
        "archive": absolute_archive(os.environ.get("CORTEX_ARCHIVE", ""))
    }
    mask = requested_masking()
    return {name: value for name, value in settings.items() if value} | (
        {} if mask is None else {"mask": str(int(mask))}
    )


def _store_settings(store: SettingsStore, settings: dict[str, str], *, administrator: bool) -> None:
    """Store our settings for everything that uses the store.

    A collector has an administrator's settings, other recorders only a reader's.

    Raises
    ------
    BadQuery
        The archive is on this host alone, and the store is shared.
    StoreError
    """
    if administrator and is_shared(store.url):
        adopt_settings(store, settings, f"a collector on {socket.gethostname()}")
    elif (url := settings.get("archive")) and not is_shared(store.url) and read_lock(store) is None:
        store.set_setting("archive", url)


async def _open_store(options: argparse.Namespace, health: Health) -> Store:
    """Open the store; a collector waits for it, since a server that is away comes back and a restart mends nothing."""
    while True:
        health.heartbeat_tried()
        try:
            store = await asyncio.to_thread(open_store, options.store, weak=True)
        except StoreBusy as error:
            if not options.all:
                raise
            health.waited_for_store = True
            health.store_log.failed("start", error)
        else:
            health.store_log.worked("start")
            return store
        await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    sys.exit(main())
