"""`python -m cortex_jupyter.recording`: the recorder process; the same as `cortex-jupyter record`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys

from cortex_jupyter.errors import CortexError
from cortex_jupyter.masking import rules
from cortex_jupyter.recording.parser import masking
from cortex_jupyter.recording.recorder import IDLE_S, Recording
from cortex_jupyter.recording.store import open_store


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
    parser = argparse.ArgumentParser("cortex-jupyter record", description=main.__doc__)
    parser.add_argument("--store", metavar="URL", help="where recordings are kept (default: CORTEX_STORE)")
    parser.add_argument("--kubeconfig", metavar="PATH")
    parser.add_argument("--context", metavar="NAME")
    parser.add_argument("--idle", type=float, default=IDLE_S, metavar="S", help="end after so long without work")
    parser.add_argument("--port", type=int, metavar="N", help="serve /metrics, /healthz and /readyz there")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_record(options))
    except CortexError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400 - the message says what to do
        return 1
    except asyncio.CancelledError:
        return 0
    return 0


async def _record(options: argparse.Namespace) -> None:
    # Imported with the session's first use in mind: 0.3 s that a reader waits for.
    from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    store = await asyncio.to_thread(open_store, options.store, weak=True)
    try:
        if url := os.environ.get("CORTEX_ARCHIVE"):  # readers have said it already, where it was they who started us
            await asyncio.to_thread(store.set_setting, "archive", url)
        if await asyncio.to_thread(masking, store):
            rules()  # where they are missing nothing is recorded: what has been stored unmasked stays so
        from cortex_jupyter.recording.endpoint import serving  # noqa: PLC0415 - the same

        web = contextlib.nullcontext() if options.port is None else serving(options.port)
        async with web, await Cluster.open(options.kubeconfig, options.context) as cluster:
            await Recording(store, cluster, options.idle).run()
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
