"""Make sure that a recorder process runs for a store and a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import RecorderError
from cortex_jupyter.recording.store import path_of
from cortex_jupyter.recording.store.liveness import HOST, MACHINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.recording.store import Recorder, Store

#: A process that has not shown itself in the store for this long after its start, seconds, has failed. It waits itself
#: for a store that is full or busy (`recorder.heartbeat._APPEAR_S`).
_START_S: Final = 75.0
#: After one that failed no other is started for this long, seconds; each further failure doubles it.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_lock = threading.Lock()
#: A store's URL, its file, and a cluster: what failed with a file does not hold for the one that takes its place.
_Key = tuple[str, int, str]
_started: dict[_Key, tuple[int, float]] = {}  # process id, when
_failed: dict[_Key, tuple[str, int, float]] = {}  # last words, how often in a row, not before


def log_path(store_url: str) -> Path:
    """Give the file that recorders of this store write their own messages to."""
    if (path := path_of(store_url)) is not None:
        return path.with_name("recorder.log")
    from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415

    folder = Path(jupyter_data_dir()) / "cortex"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "recorder.log"


def rights(kubeconfig: str | None, context: str | None) -> str:
    """Give what is the same for all processes that find the same credentials as one with these arguments."""
    named = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~")  # noqa: PTH111 - pathlib's raises where there is no home
    return hashlib.sha256(f"{MACHINE or HOST} {os.getuid()} {named} {context}".encode()).hexdigest()[:16]


def ensure_recorder(
    store: Store, cluster: str, kubeconfig: str | None = None, context: str | None = None, namespace: str = ""
) -> None:
    """Start a recorder unless one lives that may take what is asked for; it blocks only for the look into the store.

    Parameters
    ----------
    store : Store
    cluster : str
        `Cluster.id`, by which stores tell clusters apart.
    kubeconfig, context : str, optional
        What the recorder is to use; else it finds them as we did, from the same environment.
    namespace : str, optional
        Of what is asked for. One that is for other namespaces, or has less rights there than we may have, is none.

    Raises
    ------
    RecorderError
        One that was started here ended at once, with its last words.
    """
    with _lock:
        key = (store.url, _file(store.url), cluster)
        living = store.recorders(cluster)
        if key in _started and any(one.pid == _started[key][0] and one.host == HOST for one in living):
            _started[key] = (_started[key][0], float("-inf"))  # should it hang from now on, another may begin at once
        if any(_may_take(one, namespace, rights(kubeconfig, context)) for one in living):
            _failed.pop(key, None)
            return
        if key in _started:
            # Asking also reaps it, should it have been killed.
            pid, at = _started[key]
            code = exit_code(pid)
            if code is None and time.monotonic() - at < _START_S:
                return  # still importing
            if code:
                del _started[key]
                times = _failed.get(key, ("", 0, 0.0))[1]
                wait = min(_FIRST_WAIT_S * 2**times, _LONGEST_WAIT_S)
                words = f"the recorder ended at once with exit code {code}: {_last_words(store.url)}"
                _failed[key] = (words, times + 1, time.monotonic() + wait)
        if key in _failed and time.monotonic() < _failed[key][2]:
            # A store that is damaged, a configuration that is wrong: starting it again and again mends neither.
            raise RecorderError(_failed[key][0])
        # -P: a `json.py` in the user's folder must not be taken for the library.
        command = [sys.executable, "-P", "-m", "cortex_jupyter.recording", "--store", store.url]
        command += ["--kubeconfig", kubeconfig] if kubeconfig else []
        command += ["--context", context] if context else []
        _started[key] = (spawn(command, log_path(store.url)), time.monotonic())


def _may_take(one: Recorder, namespace: str, ours: str) -> bool:
    """Tell whether a recorder may record tasks of a namespace, or ours could not either."""
    return (not one.namespaces or namespace in one.namespaces) and (namespace not in one.refused or one.rights == ours)


def _file(store_url: str) -> int:
    path = path_of(store_url)
    try:
        return path.stat().st_ino if path else 0
    except OSError:
        return 0


def spawn(command: list[str], log: Path | None, env: Mapping[str, str] | None = None) -> int:
    """Start a process that outlives the kernel or server that asked for it.

    Parameters
    ----------
    command : list of str
    log : Path or None
        What it writes to; None for what our standard error is.
    env : mapping, optional
        What stands in its environment besides.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess.Popen, which believes that a child is waited for and warns when it is not.
    return os.posix_spawn(
        command[0],
        command,
        os.environ | dict(env or {}),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *(
                [(os.POSIX_SPAWN_DUP2, 2, 1)]
                if log is None
                else [(os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
            ),
        ],
        setsid=True,
    )


def exit_code(pid: int) -> int | None:
    """Give a child's exit code, None while it runs; one that was killed is as good as ended."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    if not done:
        return None
    return max(os.waitstatus_to_exitcode(status), 0)


def _last_words(store_url: str) -> str:
    path = log_path(store_url)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    if not lines:
        return f"nothing in {path}"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(lines[-1])["message"])
    return lines[-1]
