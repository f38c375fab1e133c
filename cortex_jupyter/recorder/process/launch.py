"""Make sure that a recorder process runs for a store and a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import RecorderError
from cortex_jupyter.store import data_folder, path_of
from cortex_jupyter.store.liveness import HOST, MACHINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cortex_jupyter.store import RecorderInfo, Store

_log = logging.getLogger(__name__)

#: A process that has not shown itself in the store for this long after its start, seconds, has failed. It waits itself
#: for a store that is full or busy (`recorder.heartbeat._APPEAR_S`).
_START_S: Final = 75.0
#: After one that failed no other is started for this long, seconds; each further failure doubles it.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
#: One that is killed is replaced at once, unless it is the third in a row that lived for less than this, seconds: where memory
#: is short the next is killed as well.
_SHORT_LIFE_S: Final = 30.0
_KILLS: Final = 3
_lock = threading.Lock()
#: A store's URL, its file, and a cluster: what failed with a file does not hold for the one that takes its place.
_Key = tuple[str, int, str]
_started: dict[_Key, tuple[int, float, float]] = {}  # process id, since when it is waited for, when it was started
_failed: dict[_Key, tuple[RecorderError, int, float]] = {}  # why, how often in a row, not before
_killed: dict[_Key, int] = {}  # how often in a row, soon after a start


def log_path(store_url: str) -> Path:
    """Give the file that recorders of this store write their own messages to."""
    if (path := path_of(store_url)) is not None:
        return path.with_name("recorder.log")
    folder = data_folder()
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
        One that was started here ended at once, with its last words, or they are killed again and again.
    """
    with _lock:
        key = (store.url, _file(store.url), cluster)
        living = store.recorders(cluster)
        if key in _started and any(one.pid == _started[key][0] and one.host == HOST for one in living):
            _started[key] = (
                _started[key][0],
                float("-inf"),
                _started[key][2],
            )  # should it hang from now on, another may begin at once
        if any(_may_take(one, namespace, rights(kubeconfig, context)) for one in living):
            _failed.pop(key, None)
            return
        if key in _started:
            # Asking also reaps it, should it have been killed.
            pid, at, begun = _started[key]
            code = exit_code(pid)
            if code is None and time.monotonic() - at < _START_S:
                return  # still importing
            if code:
                del _started[key]
                _take_failure(key, code, time.monotonic() - begun)
        if key in _failed and time.monotonic() < _failed[key][2]:
            # A store that is damaged, a configuration that is wrong, too little memory: starting it again and again mends none.
            raise _failed[key][0]
        # -P: a `json.py` in the user's folder must not be taken for the library.
        command = [sys.executable, "-P", "-m", "cortex_jupyter.recorder", "--store", store.url]
        command += ["--kubeconfig", kubeconfig] if kubeconfig else []
        command += ["--context", context] if context else []
        now = time.monotonic()
        _started[key] = (spawn(command, log_path(store.url)), now, now)


def _take_failure(key: _Key, code: int, lived_s: float) -> None:
    """Take in how a recorder ended; note until when none is started, where it is not to be replaced at once.

    Parameters
    ----------
    key : tuple
    code : int
        Its exit code, not 0; below 0 the number of the signal that killed it.
    lived_s : float
        For how long it ran, in seconds.
    """
    if code > 0:
        times = _failed[key][1] if key in _failed else 0
        error = RecorderError(f"the recorder ended at once with exit code {code}: {_last_words(key[0])}")
    else:
        _killed[key] = _killed.get(key, 0) + 1 if lived_s < _SHORT_LIFE_S else 1
        times = _killed[key] - _KILLS
        name = signal.Signals(-code).name
        _log.warning("the recorder was killed by %s after %.0f s", name, lived_s)
        if times < 0:
            return
        error = RecorderError(
            f"the recorder was killed by {name} {_killed[key]} times, each within {_SHORT_LIFE_S:g} s of its start",
            "SIGKILL is mostly the kernel's, where memory is short: raise the memory limit of this machine, container or "
            "server, or have it read fewer logs at once",
        )
    _failed[key] = (error, times + 1, time.monotonic() + min(_FIRST_WAIT_S * 2 ** min(times, 10), _LONGEST_WAIT_S))


def _may_take(one: RecorderInfo, namespace: str, ours: str) -> bool:
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
    """Give a child's exit code, None while it runs; of one that was killed the signal's number, below 0."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    if not done:
        return None
    return os.waitstatus_to_exitcode(status)


def _last_words(store_url: str) -> str:
    path = log_path(store_url)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    if not lines:
        return f"nothing in {path}"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(lines[-1])["message"])
    return lines[-1]
