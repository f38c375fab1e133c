"""Notices about a source: it started, it ended, lines of it are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.recorder.writing.batch import PendingNotice

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.writing.line_limit import LineLimit


def started(source: Source, sid: int, at: int, before: dict[str, Any]) -> PendingNotice:
    """Return the notice that a run started at a time (ns).

    `before` holds what its pod went through until then (`cluster.pods.startup`).
    """
    return PendingNotice(
        "status", f"{_name(source)} started{_run_suffix(source)}", at, sid, fields={"notice": "started"} | before
    )


def created(source: Source, sid: int, end: End, before: dict[str, Any]) -> PendingNotice:
    """Return the notice that a container was created but could not be started; `ended` tells how it ended."""
    message = f"{_name(source)} was created{_run_suffix(source)}"
    return PendingNotice("status", message, end.finished, sid, fields={"notice": "created"} | before)


def ended(source: Source, sid: int, end: End | None) -> PendingNotice:
    """Return the notice that a run ended and was read to its end, except for its audit.

    `end` is None if its pod was deleted first.
    """
    fields: dict[str, Any] = {"notice": "ended"}
    if end:
        fields |= {"exit_code": end.exit_code, "reason": end.reason}
        # The message holds only a part of this text; the field holds all that the kubelet or the container status.
        fields |= {"termination_message": end.message} if end.message else {}
    verb = "ended" if end is None or end.has_run else "could not be started"
    message = f"{_name(source)} {verb}: {end or 'its pod was deleted'}"
    return PendingNotice("status", message, end.finished if end else 0, sid, ended=True, unaudited=True, fields=fields)


def audited(sid: int) -> PendingNotice:
    """Return the change of state that nothing of a finished run is still to be checked."""
    return PendingNotice(sid=sid, ended=True)


def gap(
    source: Source,
    sid: int,
    since: int,
    until: int,
    reason: str,
    hint: str = "",
    *,
    loss: str,
    limit: LineLimit | None = None,
) -> PendingNotice:
    """Return the notice that lines are missing between two times (ns).

    Parameters
    ----------
    source : Source
    sid : int
        The source's id. 0 for a run without recorded lines; the notice then has the time `until`.
    since, until : int
    reason, hint : str
        Why lines are missing, and what would have avoided it.
    loss : str
        The same as `reason` in one of the words that are counted.
    limit : LineLimit, optional
        If it has delayed lines since then, the notice says so. Not if it was removed meanwhile: there is none to name.
    """
    if limit is not None and limit.lines_per_s is not None and limit.has_delayed(since):
        reason, loss = f"{reason}: {limit.why}", "line_limit"
        hint = "; ".join(filter(None, (limit.hint, hint)))
    fields: dict[str, Any] = {"from": str(since), "to": str(until), "reason": reason, "hint": hint or None}
    if not sid:
        fields["source"] = source.public
    text = f"{_name(source)}: lines are missing: {reason}"
    return PendingNotice("gap", text, 0 if sid else until, sid, fields=fields, loss=loss)


def unchecked(source: Source, sid: int) -> PendingNotice:
    """Return the mark that a log was removed before it could be read once more.

    Nothing suggests that a line is missing.
    """
    return status(source, sid, "unchecked", "the node removed its log before it could be read once more")


def status(source: Source, sid: int, kind: str, text: str, hint: str = "") -> PendingNotice:
    """Return another notice about a source; `kind` is the notice's kind."""
    fields = {"notice": kind} | ({"hint": hint} if hint else {})
    return PendingNotice("status", f"{_name(source)}: {text}", sid=sid, fields=fields)


def _run_suffix(source: Source) -> str:
    """Return which run it is, counted as Kubernetes counts restarts: 0 is the first."""
    return f" again (run {source.run})" if source.run else ""


def _name(source: Source) -> str:
    return f"{source.pod} · {source.container}"
