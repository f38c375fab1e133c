"""`cortex-jupyter demo`: start a cluster, run a task in it, and open JupyterLab with a notebook that shows its log."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cli.demo.cluster import clean, start
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import CortexError, MissingExtra
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

_NOTEBOOK: Final = Path(__file__).with_name("demo.ipynb")
#: Time for JupyterLab to start (seconds).
_START_S: Final = 90.0
#: Time for the recorder to end after SIGTERM (seconds).
_GRACE_S: Final = 5.0
#: Settings that keep JupyterLab's question about news away from the first view.
_SETTINGS: Final = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": '{"fetchNews": "false", "checkForUpdates": false}'
}


def run(options: argparse.Namespace) -> int:
    """Start everything, print the address, and stop everything at SIGINT or SIGTERM."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtra("the demo needs JupyterLab, which is not installed", 'pip install "cortex-jupyter[lab]"')
    signal.signal(signal.SIGTERM, _interrupted)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cortex-demo-", ignore_cleanup_errors=True)))
        env = dict(os.environ, CORTEX_STORE=f"sqlite:///{work / 'store' / 'recordings.sqlite'}")
        if not env.get("KUBECONFIG"):
            print_status(
                "KUBECONFIG is not set: starting a cluster for the demo, whose pods are processes on this machine"
            )
            env["KUBECONFIG"] = stack.enter_context(_sandbox(work))
        os.environ |= env
        stack.callback(_end_recorder, env["CORTEX_STORE"])
        port, token = options.port or _free_port(), secrets.token_hex(16)
        lab = stack.enter_context(_lab(work, env, port, token))
        _wait(lab, port, token, work / "lab.log")
        # The task starts last, so that the user sees it from its beginning.
        stack.callback(_run_ignoring_errors, clean)
        asyncio.run(start())
        address = f"http://127.0.0.1:{port}/lab/tree/demo.ipynb?token={token}"
        print(address, flush=True)
        print_status("press Ctrl-C to stop everything")
        if not options.no_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            return lab.wait()
    return 0


def _interrupted(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second SIGTERM must not interrupt the clean-up
    raise KeyboardInterrupt


@contextlib.contextmanager
def _sandbox(work: Path) -> Iterator[str]:
    command = [sys.executable, "-P", "-m", "cortex_jupyter.sandbox", "--root", str(work / "cluster")]
    with _process(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kubeconfig = process.stdout.readline().strip()
        if not kubeconfig:
            raise CortexError(f"cannot start the demo's cluster: exit code {process.wait()}", "see the message above")
        yield kubeconfig


@contextlib.contextmanager
def _lab(work: Path, env: dict[str, str], port: int, token: str) -> Iterator[subprocess.Popen[Any]]:
    folder, settings = work / "notebooks", work / "settings"
    folder.mkdir()
    shutil.copy(_NOTEBOOK, folder / "demo.ipynb")
    for name, text in _SETTINGS.items():
        (settings / name).parent.mkdir(parents=True)
        (settings / name).write_text(text)
    more = {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(work / "workspaces")}
    command = [
        sys.executable,
        "-P",
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        # The extension is not enabled if the package is only on the path and not installed.
        "--ServerApp.jpserver_extensions={'cortex_jupyter': True}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = work / "lab.log"
    with log.open("wb") as out, _process(command, env=env | more, stdout=out, stderr=out, cwd=folder) as process:
        yield process


@contextlib.contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait(lab: subprocess.Popen[Any], port: int, token: str, log: Path) -> None:
    # With the token: another server may have the port, and ours takes a while to notice and end.
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"})
    until = time.monotonic() + _START_S
    while time.monotonic() < until and lab.poll() is None:
        with contextlib.suppress(OSError, HTTPException):
            urllib.request.urlopen(request, timeout=2).close()  # noqa: S310 - on this machine
            return
        time.sleep(0.2)
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    raise CortexError(f"JupyterLab does not start on port {port}: {last}", "choose another port with --port")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end_recorder(url: str) -> None:
    """Stop the recorder of the demo's store, before the store is deleted."""
    with contextlib.suppress(CortexError, OSError):
        store = open_store(url)
        try:
            for cluster in {info.cluster for info in store.recordings()}:
                while recorder := store.recorder(cluster):
                    _end(recorder.pid)
        finally:
            store.close()


def _end(pid: int) -> None:
    """Stop a process that is not our child. Kill it if it does not end in time: it has nothing to save."""
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _GRACE_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def _run_ignoring_errors(work: Callable[[], Coroutine[object, None, object]]) -> None:
    with contextlib.suppress(CortexError):
        asyncio.run(work())
