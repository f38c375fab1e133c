"""Make sure that a recorder process runs for a store and a cluster."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from cortex_jupyter.errors import RecorderError

if TYPE_CHECKING:
    from cortex_jupyter.recording.store import Store

#: A process that has not shown itself in the store for this long after its start, seconds, has failed.
_START_S: Final = 20.0
_lock = threading.Lock()
_started: dict[tuple[str, str], tuple[subprocess.Popen[bytes], float]] = {}


def log_path(store_url: str) -> Path:
    """Give the file that recorders of this store write their own messages to."""
    parts = urlsplit(store_url)
    if parts.scheme == "sqlite":
        return Path(unquote(parts.path)).with_name("recorder.log")
    return Path(tempfile.gettempdir()) / "cortex-recorder.log"


def ensure_recorder(store: Store, host: str, kubeconfig: str | None = None, context: str | None = None) -> None:
    """Start a recorder unless one lives; returns at once, it blocks only for the look into the store.

    Parameters
    ----------
    store : Store
    host : str
        The API server's URL, by which stores tell clusters apart.
    kubeconfig, context : str, optional
        What the recorder is to use; else it finds them as we did, from the same environment.

    Raises
    ------
    RecorderError
        One that was started here ended at once, with its last words.
    """
    with _lock:
        key = (store.url, host)
        if store.recorder(host) is not None:
            return
        child, at = _started.get(key, (None, 0.0))
        if child is not None:
            code = child.poll()
            if code is None and time.monotonic() - at < _START_S:
                return  # still importing
            if code not in (None, 0) and code > 0:
                del _started[key]
                raise RecorderError(f"the recorder ended at once with exit code {code}: {_last_words(store.url)}")
        command = [sys.executable, "-m", "cortex_jupyter.recording", "--store", store.url]
        command += ["--kubeconfig", kubeconfig] if kubeconfig else []
        command += ["--context", context] if context else []
        with log_path(store.url).open("ab") as log:
            # A session of its own: it outlives the kernel or server that asked for it.
            child = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        _started[key] = (child, time.monotonic())


def _last_words(store_url: str) -> str:
    path = log_path(store_url)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else f"nothing in {path}"
