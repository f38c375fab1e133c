"""One exception tree. Each message says what happened, each hint what to do next.

    CortexError
    ├── BadQuery           400   a parameter is invalid
    │   ├── AmbiguousTask  400   several kinds of workload have this bare name
    │   └── TooSlow        400   a pattern takes too long on these lines
    ├── NotAllowed         403   the cluster refuses (401, 403)
    ├── OtherCluster       409   the server reads another cluster or store than the kernel
    ├── NotFound           404
    │   ├── TaskNotFound
    │   │   └── KindNotFound   the cluster does not serve this kind, at least at the moment
    │   ├── ContainerNotFound
    │   ├── RecordNotFound         a log has no line at this position or with this number
    │   └── CursorNotHeld  410   the lines at a cursor are no longer held
    │       └── RecordingDeleted 404   an administrator deleted the recording
    ├── DeletionRefused    409   a recording cannot be deleted
    │   ├── LegalHold      409   it is under a legal hold
    │   └── StillRecorded  409   a recorder is writing it
    ├── LimitReached       429   a limit of the server is reached; waiting helps
    │   └── TooMany        429   one request asks for too much; waiting does not help
    ├── ClusterError       502   the cluster answers with an error
    │   ├── NoCluster      502   no kubeconfig, and not inside a cluster
    │   └── ClusterUnreachable 504
    │       └── ClusterChanged 503  the kubeconfig's context has changed to another cluster
    ├── StoreError         500   the store cannot be read or written
    │   ├── StoreFull      507   the disk is full; recording goes on when there is room
    │   ├── StoreBusy      503   the store cannot be written now; waiting helps
    │   │   └── StoreUnreachable 503  the store's server does not answer; waiting helps
    │   ├── StoreTooNew    500   a newer version of this package laid out the store
    │   └── LeaseLost      500   another recorder has taken over
    ├── ArchiveError       502   the archive cannot be read or written
    │   ├── ArchiveNotFound 404  an object of the archive does not exist
    │   ├── ArchiveTooNew  500   a newer version of this package wrote the object
    │   └── ArchiveDamaged 500   an object is truncated, or is not an archived recording
    ├── AuditError         503   the audit log cannot be written, so nothing is read
    ├── SignInUnavailable  503   the provider of sign-ins cannot be asked who the user is
    ├── RecorderError      500   the recorder process does not start
    ├── SearchFailed       500   a process that searches ended early
    ├── WaitTimeout        504   an awaited line or end did not come in time
    ├── TaskFailed         500   an awaited task failed
    └── MissingExtra       500   an optional library is not installed

The HTTP error body, the CLI's last line, the viewer's error strip and a Python traceback all show
the same three things: `code`, `message`, `hint` (docs/reference/http.md, Errors).
"""

from __future__ import annotations

import linecache
import re
import traceback
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Frames of these packages are not the user's: they run the cell.
_SHELLS: Final = frozenset({"IPython", "ipykernel", "runpy"})
#: The modes of `%xmode` with the short form in a notebook. The others ask for the whole traceback.
_SHORT_MODES: Final = frozenset({"Context", "Minimal"})


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
    #: HTTP's `Retry-After` in seconds; None if waiting alone does not help.
    retry_s: int | None = None
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    @property
    def code(self) -> str:
        """The class's name, for programs to compare."""
        return type(self).__name__

    def as_dict(self) -> dict[str, str]:
        """Return the three fields as the HTTP error body has them."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows of this error: the user's own lines that led to it, the message and the hint.

        Frames of this package and of libraries below it do not help a user. `%tb Verbose` shows them afterwards,
        `%xmode Verbose` always. Python itself, outside IPython, shows its usual traceback.
        """
        from IPython.core.getipython import get_ipython  # only IPython calls this method

        shell = get_ipython()
        if shell is None:
            return traceback.format_exception(self)
        renderer = shell.InteractiveTB
        if renderer.mode not in _SHORT_MODES:
            whole: list[str] = renderer.structured_traceback(type(self), self, self.__traceback__, tb_offset=1)
            return whole
        renderer.tb = self.__traceback__  # where `%debug` starts; otherwise that of an earlier error
        start, end = ("", "") if str(shell.colors).lower() == "nocolor" else ("\x1b[31m", "\x1b[39m")
        hint = [f"hint: {self.hint}"] if self.hint else []
        return [*self._lines_of_user(shell), f"{start}{self.code}{end}: {self.message}", *hint]

    def _lines_of_user(self, shell: Any) -> Iterator[str]:
        """Yield the place and the code of each of the user's lines that led to this error."""
        for frame, line in traceback.walk_tb(self.__traceback__):
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package == __name__.partition(".")[0]:
                return
            if package not in _SHELLS:
                file = frame.f_code.co_filename
                named = getattr(shell.compile, "format_code_name", lambda _: None)(file)
                place = " ".join(named) if named else file
                yield f"{place}, line {line}: {linecache.getline(file, line, frame.f_globals).strip()}"


class BadQuery(CortexError):
    """A parameter is invalid."""

    status = 400


class AmbiguousTask(BadQuery):
    """A bare name fits workloads of several kinds."""


class TooSlow(BadQuery):
    """A pattern takes too long on the lines of this log."""

    default_hint = "remove a repetition (`*`, `+`) from the pattern, or search for plain text"

    @classmethod
    def of(cls, pattern: str, seconds: float) -> TooSlow:
        """Return the error for a pattern that was stopped after this much CPU time (seconds)."""
        return cls(f"{pattern[:80]!r} takes too long on these lines: it was stopped after {seconds:g} s of computing")


class NotAllowed(CortexError):
    """The cluster or the server refuses this user's request."""

    status = 403
    default_hint = "ask for the verbs `get pods/log`, `list pods` and `watch pods` in this namespace, or log in again"


class OtherCluster(CortexError):
    """The server reads another cluster or store than the kernel that shows the viewer."""

    status = 409
    default_hint = "leave the viewer's transport at `auto` or set it to `comm`: lines then come through the kernel"


class NotFound(CortexError):
    """Something that a request names does not exist."""

    status = 404


class TaskNotFound(NotFound):
    """No task of this name exists, neither in the cluster nor in a recording."""

    default_hint = "`cortex-jupyter tasks` or `%tasklogs` lists all tasks"


class KindNotFound(TaskNotFound):
    """The cluster does not serve this kind of task; while its API server starts, it may lack kinds that it has."""


class ContainerNotFound(NotFound):
    """The task has no such container or pod."""


class RecordNotFound(NotFound, IndexError):
    """The log has no line at this position, or with this number."""


class CursorNotHeld(NotFound):
    """The lines at a cursor are no longer held."""

    status = 410
    default_hint = "start again without a cursor"


class RecordingDeleted(CursorNotHeld):
    """An administrator deleted the recording."""

    status = 404  # a viewer answers 410 by loading its window again, which would fail in the same way


class DeletionRefused(CortexError):
    """A recording cannot be deleted now."""

    status = 409


class LegalHold(DeletionRefused):
    """The recording is under a legal hold."""


class StillRecorded(DeletionRefused):
    """A recorder is writing the recording."""


class LimitReached(CortexError):
    """A limit of the server is reached; the hint names its setting."""

    status = 429
    retry_s: int | None = 5


class TooMany(LimitReached):
    """One request asks for more than a limit allows, so waiting does not help."""

    retry_s = None


class ClusterError(CortexError):
    """The cluster answered with an error."""

    status = 502


class NoCluster(ClusterError):
    """There is no kubeconfig, and this is not a pod."""

    default_hint = "set KUBECONFIG, or try `cortex-jupyter demo`, which brings its own cluster"


class ClusterUnreachable(ClusterError):
    """The API server does not answer."""

    status = 504
    default_hint = "check the address in the kubeconfig and the network; `cortex-jupyter doctor` shows both"


class ClusterChanged(ClusterUnreachable):
    """The kubeconfig's context has changed to another cluster since this connection was opened."""

    status = 503
    retry_s = 1
    default_hint = "try again: the next request goes to the other cluster"


class StoreError(CortexError):
    """The store cannot be read or written."""


class StoreFull(StoreError):
    """The disk or a quota leaves no room to write."""

    status = 507
    default_hint = "make room on the disk, or set CORTEX_STORE to another place; recording goes on by itself, and loses nothing that the cluster still has"


class StoreBusy(StoreError):
    """Another process held the store's write lock for so long that this process gave up waiting."""

    status = 503
    retry_s = 2
    default_hint = "try again; if it happens again, a process that locks the store hangs: `cortex-jupyter doctor` names the recorder"


class StoreUnreachable(StoreBusy):
    """The store's server does not answer, or cannot serve this request now."""

    default_hint = "check that the Valkey server of CORTEX_STORE runs and can be reached; reading and recording go on by themselves when it answers"


class StoreTooNew(StoreError):
    """A newer version of this package laid out the store, in a form that this version does not know."""

    default_hint = (
        "update cortex-jupyter here and restart this process (server, kernel, recorder); the store stays as it is"
    )


class LeaseLost(StoreError):
    """Another recorder has taken over this task, so this one must stop writing."""


class ArchiveError(CortexError):
    """The archive (a folder, S3, GCS or Azure) cannot be read or written."""

    status = 502
    default_hint = "check the address and the network; recordings stay in the store until they are archived"


class ArchiveNotFound(ArchiveError, NotFound):
    """An object of an archive does not exist."""

    status = 404
    default_hint = "check the address; if it is right, the object was removed"


class ArchiveTooNew(ArchiveError):
    """A newer version of this package wrote the archived recording, in a form that this version does not know."""

    status = 500
    default_hint = (
        "update cortex-jupyter; `cortex_jupyter.open`, pandas, polars and DuckDB can read the Parquet file meanwhile"
    )


class ArchiveDamaged(ArchiveError):
    """An object of an archive is truncated, or is not an archived recording."""

    status = 500
    default_hint = "copy it again from its origin; while its recording is in the store, `cortex-jupyter archive --again` writes it again"


class AuditError(CortexError):
    """The audit log cannot be written, so no lines are read."""

    status = 503
    default_hint = "tell the administrator of this server: with an audit log, nothing is read without a record in it"


class SignInUnavailable(CortexError):
    """The provider that users sign in with does not answer, so that no user can be identified."""

    status = 503
    retry_s = 10
    default_hint = "try again; if it happens again, tell the administrator of this server"


class RecorderError(CortexError):
    """The recorder process does not start, or exits at once."""

    default_hint = "`cortex-jupyter doctor` shows the recorder's own messages"


class SearchFailed(CortexError):
    """A process that searches recordings ended early."""

    default_hint = "search again; the log of the server or kernel says why"


class WaitTimeout(CortexError, TimeoutError):
    """An awaited line, or the end of a task, did not come in time."""

    status = 504
    default_hint = "wait longer, or look at the lines so far: recording goes on"


class TaskFailed(CortexError):
    """An awaited task failed, or was deleted.

    Parameters
    ----------
    task : str
        The task's key.
    message : str
        How it ended, in words.
    exit_code : int or None
    reason : str
        Kubernetes' word: `BackoffLimitExceeded`, `OOMKilled`, `DeadlineExceeded`, `Deleted`.
    records : sequence
        The last lines; the message shows them too.
    pod : str
        The pod that failed first, if these are its lines.
    """

    def __init__(
        self, task: str, message: str, exit_code: int | None, reason: str, records: Sequence[object], pod: str = ""
    ) -> None:
        lines = "\n".join(f"  {record!r}" for record in records)
        of_pod = f" of {pod}" if pod else ""
        tail = f"\n\nthe last {len(records)} lines{of_pod}:\n{lines}" if records else "; it wrote no line"
        # The message of most failures names the reason already.
        why = f" ({reason})" if reason and not re.search(rf"\b{re.escape(reason)}\b", message) else ""
        super().__init__(f"{task}: {message}{why}{tail}", "`log.why()` shows what led to it")
        self.task, self.exit_code, self.reason, self.records, self.pod = task, exit_code, reason, records, pod


class ReadingWarning(UserWarning):
    """The log may be read incompletely: a right is missing, or the cluster cannot be reached."""


class HangWarning(UserWarning):
    """The task makes no step for much longer than usual: see `TaskLog.hangs`."""


class MissingExtra(CortexError, ImportError):
    """An optional library is not installed."""
