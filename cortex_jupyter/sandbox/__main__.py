"""`python -m cortex_jupyter.sandbox`: run a sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal

from cortex_jupyter.sandbox.config import Config
from cortex_jupyter.sandbox.sandbox import Sandbox, run


def parser() -> argparse.ArgumentParser:
    """Give the command line's parser."""
    defaults = Config()
    made = argparse.ArgumentParser(prog="python -m cortex_jupyter.sandbox", description=__doc__)
    made.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    made.add_argument("--root", help="folder for log files; a temporary one, removed at the end, unless given")
    made.add_argument("--kubeconfig", help="where to write the kubeconfig; ROOT/kubeconfig unless given")
    made.add_argument(
        "--log-max-size", type=int, default=defaults.log_max_size, help="bytes at which a log is rotated (%(default)s)"
    )
    made.add_argument(
        "--log-max-files", type=int, default=defaults.log_max_files, help="files kept per container (%(default)s)"
    )
    made.add_argument(
        "--log-check", type=float, default=defaults.log_check, help="seconds between looks at the sizes (%(default)s)"
    )
    made.add_argument(
        "--backoff", type=float, default=defaults.backoff, help="seconds of the first back-off (%(default)s)"
    )
    made.add_argument(
        "--backoff-max", type=float, default=defaults.backoff_max, help="seconds of the longest (%(default)s)"
    )
    made.add_argument(
        "--job-backoff", type=float, default=defaults.job_backoff, help="seconds before a Job's next pod (%(default)s)"
    )
    made.add_argument(
        "--bookmark", type=float, default=defaults.bookmark, help="seconds between a watch's bookmarks (%(default)s)"
    )
    made.add_argument(
        "--idle", type=float, default=defaults.idle, help="seconds until an idle connection is closed (%(default)s)"
    )
    return made


async def main(arguments: argparse.Namespace) -> None:
    """Run until a signal."""
    settings = {k: v for k, v in vars(arguments).items() if k not in ("port", "root", "kubeconfig")}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = Sandbox(arguments.root, port=arguments.port, kubeconfig=arguments.kubeconfig, config=Config(**settings))
    try:
        await run(sandbox, stop)
    except OSError as error:
        raise SystemExit(f"cannot run on 127.0.0.1:{arguments.port} in {sandbox.root}: {error}") from error


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
