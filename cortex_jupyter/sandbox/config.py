"""Settings of the sandbox: sizes and delays."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Sizes and delays; a default equals that of a real cluster unless a user would have to wait for it.

    Attributes
    ----------
    log_max_size : int
        Maximum size of a log before it is rotated (bytes; the kubelet's `containerLogMaxSize`, 10Mi).
    log_max_files : int
        Log files kept per container (`containerLogMaxFiles`, 5).
    log_check : float
        Seconds between two checks of the log sizes (the kubelet's is 10).
    backoff, backoff_max : float
        Seconds before the second restart of a container, and the longest delay; a kubelet waits 10 to 300.
    job_backoff : float
        Seconds between a failed pod of a Job and the next one; the Job controller waits 10.
    bookmark : float
        Seconds between two bookmarks of a watch; the API server sends one a minute.
    idle : float
        Time before a connection without a request is closed (seconds; `IdleTimeout` in
        `staging/src/k8s.io/apiserver/pkg/server/secure_serving.go`, 90).
    """

    log_max_size: int = 10 * 1024 * 1024
    log_max_files: int = 5
    log_check: float = 10.0
    backoff: float = 1.0
    backoff_max: float = 10.0
    job_backoff: float = 1.0
    bookmark: float = 5.0
    idle: float = 90.0
