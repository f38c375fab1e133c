"""`python -m cortex_jupyter.recorder`: the recorder process; the same as `cortex-jupyter record`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import ClusterChanged, CortexError, StoreBusy, StoreError
from cortex_jupyter.parsing.masking import rules
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process.health import Pulse
from cortex_jupyter.recorder.process.launch import log_path, rights
from cortex_jupyter.recorder.recorder import IDLE_S, Recording
from cortex_jupyter.recorder.source.stream_limiter import MOST, PER_NODE, Turns
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.store import absolute_archive, default_url, is_shared
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.masking import configure_masking, requested_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import check_archive
from cortex_jupyter.telemetry import logs, tracing

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import Store

_log = logging.getLogger("cortex_jupyter.recorder")  # by its name: run as a program this is `__main__`


def parser() -> argparse.ArgumentParser:
    """Give the parser of its command line."""
    made = argparse.ArgumentParser("cortex-jupyter record", description="Record what is wanted until nothing is.")
    made.add_argument("--store", metavar="URL", help="where recordings are kept (default: CORTEX_STORE)")
    made.add_argument("--kubeconfig", metavar="PATH")
    made.add_argument("--context", metavar="NAME")
    made.add_argument("--idle", type=float, default=IDLE_S, metavar="S", help="end after so long without work")
    chosen = made.add_argument_group("what to record without being asked (else what readers want)")
    chosen.add_argument(
        "--all", action="store_true", help="all Jobs and bare pods from their first line on; has no idle end"
    )
    chosen.add_argument("-n", "--namespace", action="append", default=[], metavar="NS", help="with --all: only of this one; may be given several times")  # fmt: skip
    chosen.add_argument(
        "-l", "--selector", default="", metavar="SELECTOR", help="with --all: only tasks whose pods have these labels"
    )
    made.add_argument("--streams", type=int, default=MOST, metavar="N", help="logs that are read at once; more take turns (default: %(default)s)")  # fmt: skip
    made.add_argument("--streams-per-node", type=int, default=PER_NODE, metavar="N", help="of one node (default: %(default)s)")  # fmt: skip
    made.add_argument("--port", type=int, metavar="N", help="serve /metrics, /healthz and /readyz there")
    printed = made.add_argument_group("print a Deployment of it, with all that it needs")
    printed.add_argument(
        "--manifests", action="store_true", help="as YAML, of a collector with --all, -n and -l as given"
    )
    printed.add_argument(
        "--into", metavar="NS", help="its own namespace (default: the first of -n, else cortex-jupyter)"
    )
    printed.add_argument(
        "--image",
        metavar="IMAGE",
        default=f"cortex-jupyter:{__version__}",
        help="with this package in it (default: %(default)s)",
    )
    printed.add_argument("--replicas", type=int, default=2, metavar="N")
    printed.add_argument(
        "--secret", default="cortex-jupyter", metavar="NAME", help="has the keys store, password, archive"
    )
    printed.add_argument("--nodes-proxy", action="store_true", help="with the right to read rotated files on the nodes")
    printed.add_argument("--policy-beta", action="store_true", help="for Kubernetes before 1.21")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Record what is wanted until nothing is.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line's.

    Returns
    -------
    int
        The exit code: 0, or 1 with a message on stderr.
    """
    made = parser()
    options = made.parse_args(arguments)
    if options.manifests:
        sys.stdout.write(_manifests(options))
        return 0
    if (options.namespace or options.selector) and not options.all:
        made.error("--namespace and --selector say what --all is to record: add --all")
    try:
        logs.begin(_log_file(options.store or default_url()))
        tracing.begin("cortex-jupyter-recorder")
        asyncio.run(_record(options))
    except CortexError as error:
        _log.error("%s", error)
        return 1
    except asyncio.CancelledError:
        return 0
    return 0


def _log_file(url: str) -> Path | None:
    with contextlib.suppress(OSError, StoreError):
        return log_path(url)
    return None  # its folder cannot be made: then nobody has started us with it either


def _manifests(options: argparse.Namespace) -> str:
    from cortex_jupyter.recorder.collector.manifests import STORE_PORT, Install, manifests  # noqa: PLC0415 - YAML is for this alone

    namespaces = tuple(options.namespace)
    own = options.into or next(iter(namespaces), "cortex-jupyter")
    install = Install(
        own, namespaces, options.selector, options.image, options.replicas, options.secret,
        urlsplit(options.store or "").port or STORE_PORT, options.nodes_proxy, options.policy_beta,
    )  # fmt: skip
    return manifests(install)


async def _record(options: argparse.Namespace) -> None:
    # Imported with the session's first use in mind: 0.3 s that a reader waits for.
    from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    pulse = Pulse(options.port or 0)
    async with contextlib.AsyncExitStack() as stack:
        if pulse.port:
            from cortex_jupyter.recorder.process.endpoint import serving  # noqa: PLC0415 - the same

            await stack.enter_async_context(serving(pulse))
        store = await _opened(options, pulse)
        stack.callback(store.close)
        told = _told()
        await asyncio.to_thread(_set, store, told, administrator=options.all)
        if await asyncio.to_thread(configure_masking, store):
            rules()  # where they are missing nothing is recorded: what has been stored unmasked stays so
        async with await Cluster.open(options.kubeconfig, options.context) as cluster:
            _log.info("version %s records the tasks of %s into %s", __version__, cluster.id, store.url)
            chosen = (tuple(options.namespace), options.selector)
            selection = Selection(cluster, store, *chosen, pulse) if options.all else None
            turns = Turns(options.streams, options.streams_per_node)
            ours = rights(options.kubeconfig, cluster.context)
            recording = Recording(store, cluster, options.idle, selection, turns, pulse, told, ours)
            await _until_changed(recording.run(), cluster)


async def _until_changed(run: Coroutine[Any, Any, None], cluster: Cluster) -> None:
    """Record until it ends by itself, or the kubeconfig's context is for another cluster: this one cannot be asked any more.

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


def _told() -> dict[str, str]:
    """Give the settings that we were started with."""
    told = Budget.from_environment().changed_settings(Budget()) | {
        "archive": absolute_archive(os.environ.get("CORTEX_ARCHIVE", ""))
    }
    mask = requested_masking()
    return {name: value for name, value in told.items() if value} | ({} if mask is None else {"mask": str(int(mask))})


def _set(store: Store, told: dict[str, str], *, administrator: bool) -> None:
    """Set what we were told for all who use the store: a collector is an administrator's, others only have a reader's words.

    Raises
    ------
    BadQuery
        The archive is of this host alone, and the store is shared.
    StoreError
    """
    if administrator and is_shared(store.url):
        check_archive(store.url, told.get("archive", ""))
        for name, value in told.items():
            store.set_setting(name, value)
    elif (url := told.get("archive")) and not is_shared(store.url):
        store.set_setting("archive", url)


async def _opened(options: argparse.Namespace, pulse: Pulse) -> Store:
    """Open the store; a collector waits for it, since a server that is away comes back and another start mends nothing."""
    said = ""
    while True:
        pulse.turned()
        try:
            return await asyncio.to_thread(open_store, options.store, weak=True)
        except StoreBusy as error:
            if not options.all:
                raise
            pulse.waited = True
            if error.message != said:
                _log.warning("%s", error)
            said = error.message
        await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    sys.exit(main())
