"""What is said of a source in the sequence: that it started, ended, that lines of it are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.recording.writing.batch import Note

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.records import Source


def started(source: Source, sid: int, at: int, before: dict[str, Any]) -> Note:
    """Say that a run started, ns; `before` says what its pod had been through by then (`cluster.pods.beginning`)."""
    run = f" (run {source.run + 1})" if source.run else ""
    return Note("status", f"{_name(source)} started{run}", at, sid, fields={"notice": "started"} | before)


def ended(source: Source, sid: int, end: End | None) -> Note:
    """Say that a run ended and has been read to its end, its audit apart; `end` is None where its pod went first."""
    how = f"exit {end.exit_code}, {end.reason}" if end else "its pod was deleted"
    fields = {"notice": "ended"} | ({"exit_code": end.exit_code, "reason": end.reason} if end else {})
    message = f"{_name(source)} ended: {how}"
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


def said(source: Source, sid: int, kind: str, what: str, hint: str = "") -> Note:
    """Say something else of a source; `kind` is the notice's."""
    fields = {"notice": kind} | ({"hint": hint} if hint else {})
    return Note("status", f"{_name(source)}: {what}", sid=sid, fields=fields)


def _name(source: Source) -> str:
    return f"{source.pod} · {source.container}"
