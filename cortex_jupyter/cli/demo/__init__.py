"""`cortex-jupyter demo`: a cluster, a task that runs in it, and JupyterLab with a notebook that shows its log."""

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
from cortex_jupyter.cli.terminal import say
from cortex_jupyter.errors import CortexError, MissingExtra
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

_NOTEBOOK: Final = Path(__file__).with_name("demo.ipynb")
#: JupyterLab has this long to answer, seconds.
_START_S: Final = 90.0
#: Seconds in which the recorder may end by itself.
_GRACE_S: Final = 5.0
#: No question about news over the first view.
_QUIET: Final = {"@jupyterlab/apputils-extension/notification.jupyterlab-settings": '{"fetchNews": "false", "checkForUpdates": false}'}  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Start everything, print the address, and end everything at SIGINT or SIGTERM."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtra("the demo opens JupyterLab, which is not installed", 'pip install "cortex-jupyter[lab]"')
    signal.signal(signal.SIGTERM, _interrupted)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cortex-demo-", ignore_cleanup_errors=True)))
        env = dict(os.environ, CORTEX_STORE=f"sqlite:///{work / 'store' / 'recordings.sqlite'}")
        if not env.get("KUBECONFIG"):
            say("starting a cluster of its own (KUBECONFIG names none): the pods are processes of this machine")
            env["KUBECONFIG"] = stack.enter_context(_sandbox(work))
        os.environ |= env
        stack.callback(_end_recorder, env["CORTEX_STORE"])
        port, token = options.port or _free_port(), secrets.token_hex(16)
        lab = stack.enter_context(_lab(work, env, port, token))
        _wait(lab, port, token, work / "lab.log")
        # Only now, so that there is something to see from its beginning.
        stack.callback(_quietly, clean)
        asyncio.run(start())
        address = f"http://127.0.0.1:{port}/lab/tree/demo.ipynb?token={token}"
        print(address, flush=True)
        say("Ctrl-C ends everything")
        if not options.no_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            return lab.wait()
    return 0


def _interrupted(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second one must not interrupt the cleaning up
    raise KeyboardInterrupt


@contextlib.contextmanager
def _sandbox(work: Path) -> Iterator[str]:
    command = [sys.executable, "-P", "-m", "cortex_jupyter.sandbox", "--root", str(work / "cluster")]
    with _process(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kubeconfig = process.stdout.readline().strip()
        if not kubeconfig:
            raise CortexError(f"the cluster ended at once with exit code {process.wait()}", "see the message above")
        yield kubeconfig


@contextlib.contextmanager
def _lab(work: Path, env: dict[str, str], port: int, token: str) -> Iterator[subprocess.Popen[Any]]:
    folder, settings = work / "notebooks", work / "settings"
    folder.mkdir()
    shutil.copy(_NOTEBOOK, folder / "demo.ipynb")
    for name, text in _QUIET.items():
        (settings / name).parent.mkdir(parents=True)
        (settings / name).write_text(text)
    more = {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(work / "workspaces")}
    command = [
        sys.executable, "-P", "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        # Also where the package was not installed but is on the path.
        "--ServerApp.jpserver_extensions={'cortex_jupyter': True}",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = work / "lab.log"
    with log.open("wb") as out, _process(command, env=env | more, stdout=out, stderr=out, cwd=folder) as process:
        yield process


@contextlib.contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # noqa: S603
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
    # By its token: another server may have the port, and ours ends only when it has noticed.
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"})
    until = time.monotonic() + _START_S
    while time.monotonic() < until and lab.poll() is None:
        with contextlib.suppress(OSError, HTTPException):
            urllib.request.urlopen(asked, timeout=2).close()  # noqa: S310 - on this machine
            return
        time.sleep(0.2)
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    raise CortexError(f"JupyterLab does not start on port {port}: {last}", "is the port free? --port takes another")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _end_recorder(url: str) -> None:
    """End the recorder of the demo's store: the store goes now."""
    with contextlib.suppress(CortexError, OSError):
        store = open_store(url)
        try:
            for cluster in {info.cluster for info in store.recordings()}:
                while recorder := store.recorder(cluster):
                    _end(recorder.pid)
        finally:
            store.close()


def _end(pid: int) -> None:
    """End a process that is not our child; one that does not end in time has nothing left to save."""
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _GRACE_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def _quietly(work: Any) -> None:
    with contextlib.suppress(CortexError):
        asyncio.run(work())
