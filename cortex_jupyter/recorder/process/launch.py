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
from cortex_jupyter.store import READER_HINT, data_folder, other_name, path_of
from cortex_jupyter.store.liveness import HOST, MACHINE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cortex_jupyter.store import LeaseStore, RecorderInfo

_log = logging.getLogger(__name__)

#: A process that has sent no heartbeat for this long after its start (seconds) has failed. A process itself waits for a
#: store that is full or busy (`recorder.heartbeat._FIRST_HEARTBEAT_S`).
_START_S: Final = 75.0
#: After a failure no recorder is started for this long (seconds). Each further failure doubles the wait.
_FIRST_WAIT_S = 5.0
#: Maximum wait after failures (seconds).
_LONGEST_WAIT_S = 60.0
#: A recorder that was killed is replaced at once, unless it is the third in a row that lived for less than this
#: (seconds): if memory is short, the next one is killed as well.
_SHORT_LIFE_S: Final = 30.0
_KILLS: Final = 3
_lock = threading.Lock()
#: A store's URL, its file's inode, and a cluster. A failure with one file does not hold for the file that replaces it.
_Key = tuple[str, int, str]
_started: dict[_Key, tuple[int, float, float]] = {}  # process id, since when we wait for it, when it was started
_failed: dict[_Key, tuple[RecorderError, int, float]] = {}  # error, how often in a row, earliest next start
_killed: dict[_Key, int] = {}  # how often in a row, each soon after its start


def log_path(store_url: str) -> Path:
    """Return the file that recorders of this store write their log to."""
    if (path := path_of(store_url)) is not None:
        return path.with_name("recorder.log")
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "recorder.log"


def credentials_id(kubeconfig: str | None, context: str | None) -> str:
    """Return an id that is the same for all processes that find the same credentials with these arguments."""
    config_path = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~")  # noqa: PTH111 - pathlib raises if there is no home
    return hashlib.sha256(f"{MACHINE or HOST} {os.getuid()} {config_path} {context}".encode()).hexdigest()[:16]


def ensure_recorder(
    store: LeaseStore,
    cluster: str,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str = "",
    name: str | None = None,
) -> RecorderError | None:
    """Start a recorder, unless a living one may record the namespace. Blocks only to read the store.

    Parameters
    ----------
    store : LeaseStore
    cluster : str
        `Cluster.id`, which identifies the cluster in stores.
    kubeconfig, context : str, optional
        Passed to the recorder; else it finds them as we did, in the same environment.
    namespace : str, optional
        The namespace to record. A recorder for other namespaces, or with fewer rights in this one than ours, does not
        count.
    name : str, optional
        `Cluster.name`; the recorder does not find it in its environment.

    Returns
    -------
    RecorderError or None
        Why none was started: this user of the store may only read. A collector may come back at any moment.

    Raises
    ------
    RecorderError
        A recorder that was started here ended at once (with its last message), or recorders are killed again and again.
    """
    with _lock:
        key = (store.url, inode_of(store.url), cluster)
        recorders = store.recorders(cluster)
        if key in _started and any(
            recorder.pid == _started[key][0] and recorder.host == HOST for recorder in recorders
        ):
            # If it hangs from now on, another may start at once.
            _started[key] = (_started[key][0], float("-inf"), _started[key][2])
        if any(_may_record(recorder, namespace, credentials_id(kubeconfig, context)) for recorder in recorders):
            _failed.pop(key, None)
            return None
        if key in _started:
            # Asking for the exit code also reaps the process if it was killed.
            pid, waiting_since, started_at = _started[key]
            code = exit_code(pid)
            if code is None and time.monotonic() - waiting_since < _START_S:
                return None  # still importing
            if code:
                del _started[key]
                _note_failure(key, code, time.monotonic() - started_at)
        if key in _failed and time.monotonic() < _failed[key][2]:
            # A damaged store, a wrong configuration, too little memory: another start mends none of them.
            raise _failed[key][0]
        if store.is_reader():
            text = f"no recorder that may record namespace {namespace or 'default'!r} is alive"
            return RecorderError(text, (not recorders and other_name(store, cluster)) or READER_HINT)
        # -P: a `json.py` in the user's folder must not be imported in place of the library.
        command = [sys.executable, "-P", "-m", "cortex_jupyter.recorder", "--store", store.url]
        command += ["--kubeconfig", kubeconfig] if kubeconfig else []
        command += ["--context", context] if context else []
        now = time.monotonic()
        env = {"CORTEX_CLUSTER": name} if name else None
        _started[key] = (spawn(command, log_path(store.url), env), now, now)
        return None


def _note_failure(key: _Key, code: int, lived_s: float) -> None:
    """Note how a recorder ended, and until when no other one is started, if it is not replaced at once.

    Parameters
    ----------
    key : tuple
    code : int
        Its exit code, not 0; if a signal killed it, the negative number of the signal.
    lived_s : float
        How long it ran (seconds).
    """
    if code > 0:
        times = _failed[key][1] if key in _failed else 0
        error = RecorderError(f"the recorder ended at once with exit code {code}: {_last_message(key[0])}")
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


def _may_record(recorder: RecorderInfo, namespace: str, our_credentials: str) -> bool:
    """Return whether a recorder may record tasks of a namespace, or a recorder of ours could not either."""
    return recorder.serves(namespace) and (namespace not in recorder.refused or recorder.rights == our_credentials)


def inode_of(store_url: str) -> int:
    """Return the inode of a store's file; 0 if there is no such file, or the store is on a server."""
    path = path_of(store_url)
    try:
        return path.stat().st_ino if path else 0
    except OSError:
        return 0


def spawn(command: list[str], log: Path | None, env: Mapping[str, str] | None = None) -> int:
    """Start a process that outlives this kernel or server; return its process id.

    Parameters
    ----------
    command : list of str
    log : Path or None
        The file for its output; None for our standard error.
    env : mapping, optional
        Variables to add to its environment.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess.Popen: it expects that a child is waited for, and warns if it is not.
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
    """Return a child's exit code; None while it runs; the negative number of the signal that killed it."""
    try:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    if not ended_pid:
        return None
    return os.waitstatus_to_exitcode(status)


def _last_message(store_url: str) -> str:
    path = log_path(store_url)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    if not lines:
        return f"nothing in {path}"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(lines[-1])["message"])
    return lines[-1]
