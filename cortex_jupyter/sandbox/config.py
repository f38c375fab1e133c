"""How the sandbox behaves, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings; the defaults are a cluster's where that is bearable, and quicker where people would wait.

    Attributes
    ----------
    log_max_size : int
        Bytes at which a log is rotated (the kubelet's `containerLogMaxSize`, 10Mi).
    log_max_files : int
        Files kept per container (`containerLogMaxFiles`, 5).
    log_check : float
        Seconds between looks at the sizes (the kubelet's is 10).
    backoff, backoff_max : float
        Seconds before the second restart of a container and at most; a kubelet waits 10 to 300.
    job_backoff : float
        Seconds before a Job's next pod after a failed one; the Job controller waits 10.
    bookmark : float
        Seconds between bookmarks of a watch; the API server sends one a minute.
    idle : float
        Seconds after which a connection without a request is closed (`IdleTimeout` in
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
