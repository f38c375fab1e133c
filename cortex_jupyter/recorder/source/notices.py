"""What is said of a source in the sequence: that it started, ended, that lines of it are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.recorder.writing.batch import Note

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.model import Source


def started(source: Source, sid: int, at: int, before: dict[str, Any]) -> Note:
    """Say that a run started, ns; `before` says what its pod had been through by then (`cluster.pods.beginning`)."""
    return Note("status", f"{_name(source)} started{_again(source)}", at, sid, fields={"notice": "started"} | before)


def created(source: Source, sid: int, end: End, before: dict[str, Any]) -> Note:
    """Say that a container was created for a run, but could not be started; how it ended is said by `ended`."""
    message = f"{_name(source)} was created{_again(source)}"
    return Note("status", message, end.finished, sid, fields={"notice": "created"} | before)


def ended(source: Source, sid: int, end: End | None) -> Note:
    """Say that a run ended and has been read to its end, its audit apart; `end` is None where its pod went first."""
    fields: dict[str, Any] = {"notice": "ended"}
    if end:
        fields |= {"exit_code": end.exit_code, "reason": end.reason}
        # The message's line is cut; what the kubelet or the container said is here whole.
        fields |= {"termination_message": end.message} if end.message else {}
    verb = "ended" if end is None or end.has_run else "could not be started"
    message = f"{_name(source)} {verb}: {end or 'its pod was deleted'}"
    return Note("status", message, end.finished if end else 0, sid, ended=True, unaudited=True, fields=fields)


def audited(sid: int) -> Note:
    """Have it known of a run that has ended that nothing of it is still to be looked at."""
    return Note(sid=sid, ended=True)


def gap(source: Source, sid: int, since: int, until: int, reason: str, hint: str = "") -> Note:
    """Say that lines are missing between two times, ns.

    Parameters
    ----------
    source : Source
    sid : int
        Its id; 0 for a run that nothing was recorded of, the notice then bears its last time.
    since, until : int
    reason, hint : str
        Why they are, and what would have avoided it.
    """
    fields: dict[str, Any] = {"from": str(since), "to": str(until), "reason": reason, "hint": hint or None}
    if not sid:
        fields["source"] = source.public
    return Note("gap", f"{_name(source)}: lines are missing: {reason}", 0 if sid else until, sid, fields=fields)


def unchecked(source: Source, sid: int) -> Note:
    """Mark that a log was removed before it could be read once more; nothing suggests that a line is missing."""
    return said(source, sid, "unchecked", "the node removed its log before it could be read once more")


def said(source: Source, sid: int, kind: str, what: str, hint: str = "") -> Note:
    """Say something else of a source; `kind` is the notice's."""
    fields = {"notice": kind} | ({"hint": hint} if hint else {})
    return Note("status", f"{_name(source)}: {what}", sid=sid, fields=fields)


def _again(source: Source) -> str:
    """Return which run it is, counted as Kubernetes counts restarts: 0 is the first."""
    return f" again (run {source.run})" if source.run else ""


def _name(source: Source) -> str:
    return f"{source.pod} · {source.container}"
