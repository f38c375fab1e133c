"""One exception tree; each message says what happened, each hint what to do next.

    CortexError
    ├── BadQuery           400   a parameter that cannot be understood
    │   ├── AmbiguousTask  400   a bare name that several kinds have
    │   └── TooSlow        400   a pattern that does not come to an end
    ├── NotAllowed         403   the cluster refuses (401, 403)
    ├── OtherCluster       409   the server reads another cluster or store than the kernel
    ├── NotFound           404
    │   ├── TaskNotFound
    │   ├── ContainerNotFound
    │   └── CursorNotHeld  410   the recording a cursor points into is no longer held
    ├── LimitReached       429   a limit of the server; it passes
    │   └── TooMany        429   one request asks for too much
    ├── ClusterError       502   the cluster answers with an error
    │   ├── NoCluster      502   no kubeconfig, and not inside a cluster
    │   └── ClusterUnreachable 504
    │       └── ClusterChanged 503  the kubeconfig's context is for another cluster by now
    ├── StoreError         500   the recording cannot be read or written
    │   ├── StoreFull      507   the disk is full; it passes
    │   ├── StoreBusy      503   it cannot be written now; it passes
    │   │   └── StoreUnreachable 503  its server does not answer; it passes
    │   ├── StoreTooNew    500   a newer version of this package keeps it
    │   └── LeaseLost      500   another recorder has taken over
    ├── ArchiveError       502   managed content cannot be read or written
    │   ├── ArchiveNotFound 404  an object of it is not there
    │   ├── ArchiveTooNew  500   a newer version of this package has written it
    │   └── ArchiveDamaged 500   an object of it is not what it should be
    ├── RecorderError      500   the recorder process does not start
    ├── WaitTimeout        504   what was waited for did not happen in time
    ├── TaskFailed         500   a task that was waited for ended otherwise than well
    └── MissingExtra       500   an optional library is not installed

The HTTP error body, the CLI's last line, the viewer's error strip and a Python traceback all show
the same three things: `code`, `message`, `hint` (DESIGN section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class CortexError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message : str
        What happened, in one sentence without a closing period.
    hint : str, optional
        What to do next. A class has a default where one sentence fits all its cases.

    Examples
    --------
    >>> TaskNotFound("no Job 'train-1' in namespace 'ml'").as_dict()["code"]
    'TaskNotFound'
    """

    status: ClassVar[int] = 500
    #: Seconds after which asking again may help, HTTP's `Retry-After`; None where something else has to happen.
    retry_s: int | None = None
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    @property
    def code(self) -> str:
        """The name a program can compare, the class's own."""
        return type(self).__name__

    def as_dict(self) -> dict[str, str]:
        """Give the three fields every surface shows."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class BadQuery(CortexError):
    """A parameter that cannot be understood."""

    status = 400


class AmbiguousTask(BadQuery):
    """A bare name that several kinds of workload have."""


class TooSlow(BadQuery):
    """A pattern takes too long on the lines that there are."""

    default_hint = "leave a repetition out, or search for a text"

    @classmethod
    def of(cls, pattern: str, seconds: float) -> TooSlow:
        """Name the pattern, and how long it was given."""
        return cls(f"{pattern[:80]!r} takes too long on these lines: it was stopped after {seconds:g} s of computing")


class NotAllowed(CortexError):
    """The cluster, or the server, does not let this user do it."""

    status = 403
    default_hint = "ask for the verbs `get pods/log`, `list pods` and `watch pods` in this namespace, or log in again"


class OtherCluster(CortexError):
    """A page asks a server for what its kernel reads in another cluster or store."""

    status = 409
    default_hint = "leave the viewer's transport at `auto` or set it to `comm`: lines then come through the kernel"


class NotFound(CortexError):
    """Something that was named is not there."""

    status = 404


class TaskNotFound(NotFound):
    """No such task, neither in the cluster nor recorded."""

    default_hint = "`cortex-jupyter tasks` or `%tasklogs` lists what there is"


class ContainerNotFound(NotFound):
    """The task has no such container or pod."""


class CursorNotHeld(NotFound):
    """The recording that a cursor points into is no longer held."""

    status = 410
    default_hint = "start again without a cursor"


class LimitReached(CortexError):
    """A configured limit is reached; the hint names it."""

    status = 429
    retry_s: int | None = 5


class TooMany(LimitReached):
    """One request asks for more than a limit allows; to wait is no help."""

    retry_s = None


class ClusterError(CortexError):
    """The cluster answered with an error."""

    status = 502


class NoCluster(ClusterError):
    """There is no kubeconfig, and this is not a pod."""

    default_hint = "set KUBECONFIG, or try `cortex-jupyter demo`, which brings a cluster of its own"


class ClusterUnreachable(ClusterError):
    """The API server does not answer."""

    status = 504
    default_hint = "check the address in the kubeconfig and the network; `cortex-jupyter doctor` shows both"


class ClusterChanged(ClusterUnreachable):
    """The kubeconfig's context is for another cluster than when it was opened."""

    status = 503
    retry_s = 1
    default_hint = "try again: it is opened anew, and then the other cluster is asked"


class StoreError(CortexError):
    """The recording cannot be read or written."""


class StoreFull(StoreError):
    """The disk, or a quota, leaves no room to write."""

    status = 507
    default_hint = "make room on the disk, or set CORTEX_STORE to another place; recording goes on by itself, and loses nothing that the cluster still has"


class StoreBusy(StoreError):
    """Another process has been writing for so long that this one gave up waiting."""

    status = 503
    retry_s = 2
    default_hint = (
        "try again; if it stays so, a process that holds the store has hung: `cortex-jupyter doctor` names the recorder"
    )


class StoreUnreachable(StoreBusy):
    """The server that keeps the recordings does not answer, or cannot now."""

    default_hint = "check that the Valkey server of CORTEX_STORE runs and can be reached; reading and recording go on by themselves when it answers"


class StoreTooNew(StoreError):
    """A newer version of this package keeps the recordings, in a form that this one does not know."""

    default_hint = (
        "update cortex-jupyter here and start this process (server, kernel, recorder) anew; the store stays as it is"
    )


class LeaseLost(StoreError):
    """Another recorder has taken over this task; this one must stop writing."""


class ArchiveError(CortexError):
    """Managed content (a folder, S3, GCS, Azure) cannot be read or written."""

    status = 502
    default_hint = "check the address and the network; what is recorded stays in the store until it is archived"


class ArchiveNotFound(ArchiveError, NotFound):
    """An object of an archive is not there."""

    status = 404
    default_hint = "somebody has removed it, or the address is another one"


class ArchiveTooNew(ArchiveError):
    """A newer version of this package has written it, in a form that this one does not know."""

    status = 500
    default_hint = (
        "update cortex-jupyter; `cortex_jupyter.open`, pandas, polars and DuckDB read the file's columns as it is"
    )


class ArchiveDamaged(ArchiveError):
    """An object of an archive is not what it should be: cut off, or something else."""

    status = 500
    default_hint = "fetch it again from where it came; while its recording is in the store, `cortex-jupyter archive --again` writes it anew"


class RecorderError(CortexError):
    """The recorder process does not start, or ends at once."""

    default_hint = "`cortex-jupyter doctor` shows the recorder's own messages"


class WaitTimeout(CortexError, TimeoutError):
    """What was waited for did not happen in time."""

    status = 504
    default_hint = "wait longer, or look at what there is: the recording goes on"


class TaskFailed(CortexError):
    """A task that was waited for ended otherwise than well.

    Parameters
    ----------
    task : str
        Its key.
    message : str
        How it ended, as a person reads it.
    exit_code : int or None
    reason : str
        As Kubernetes names it: `BackoffLimitExceeded`, `OOMKilled`, `DeadlineExceeded`, `Deleted`.
    records : sequence
        The last lines, which the message shows too.
    """

    def __init__(self, task: str, message: str, exit_code: int | None, reason: str, records: Sequence[object]) -> None:
        lines = "\n".join(f"  {record!r}" for record in records)
        tail = f"\n\nthe last {len(records)} lines:\n{lines}" if records else "; it wrote no line"
        super().__init__(
            f"{task}: {message}{f' ({reason})' if reason else ''}{tail}", "`log.why()` says what led to it"
        )
        self.task, self.exit_code, self.reason, self.records = task, exit_code, reason, records


class ReadingWarning(UserWarning):
    """What is read may be less than there is: a right is missing, or the cluster cannot be asked."""


class MissingExtra(CortexError, ImportError):
    """An optional library is not installed."""
