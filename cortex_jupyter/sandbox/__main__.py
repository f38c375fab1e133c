"""`python -m cortex_jupyter.sandbox`: run a sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Final

from cortex_jupyter.sandbox.config import Config
from cortex_jupyter.sandbox.sandbox import Sandbox, run

#: What each setting of `Config` means.
_SETTINGS: Final = {
    "log_max_size": "size in bytes at which a log is rotated",
    "log_max_files": "files kept per container",
    "log_check": "seconds between two checks of the log sizes",
    "backoff": "first restart back-off in seconds",
    "backoff_max": "longest restart back-off in seconds",
    "job_backoff": "seconds before a Job's next pod",
    "bookmark": "seconds between two bookmarks of a watch",
    "idle": "seconds until an idle connection is closed",
}


def command_line() -> argparse.ArgumentParser:
    """Return the parser for the command line."""
    defaults = Config()
    parser = argparse.ArgumentParser(prog="python -m cortex_jupyter.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--root", help="folder for log files (default: a temporary folder, removed at the end)")
    parser.add_argument("--kubeconfig", help="where to write the kubeconfig (default: ROOT/kubeconfig)")
    for name, text in _SETTINGS.items():
        option, default = "--" + name.replace("_", "-"), getattr(defaults, name)
        parser.add_argument(option, type=type(default), default=default, help=f"{text} (%(default)s)")
    return parser


async def main(arguments: argparse.Namespace) -> None:
    """Run a sandbox until SIGTERM or SIGINT."""
    settings = {k: v for k, v in vars(arguments).items() if k not in ("port", "root", "kubeconfig")}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = Sandbox(arguments.root, port=arguments.port, kubeconfig=arguments.kubeconfig, config=Config(**settings))
    try:
        await run(sandbox, stop)
    except OSError as error:
        raise SystemExit(
            f"cannot run the sandbox on 127.0.0.1:{arguments.port} with its files in {sandbox.root}: {error}"
        ) from error


if __name__ == "__main__":
    asyncio.run(main(command_line().parse_args()))
