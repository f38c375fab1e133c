"""Explain why a task ended as it did: one sentence, and the evidence."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.error_list import MONO, card
from cortex_jupyter.analysis.result_frame import html_table
from cortex_jupyter.cluster.pods import NOT_STARTED

if TYPE_CHECKING:
    from cortex_jupyter.analysis.diagnosis import Container, Diagnosis
    from cortex_jupyter.analysis.errors import Error

_BAD, _GOOD = "#d9534f", "#3c9a5f"
_EVENTS: Final = 8
_CONTAINERS: Final = 6
_SHOWN_LINES: Final = 5
#: Reasons of a task with a failed pod that does not wait to run again: see `cluster.workloads`.
_GOES_ON: Final = ("Running", "PodFailed", "Ended")
_ORDER: Final = "what came first, and what followed"


class Why:
    """What ended a task; returned by `log.why()`.

    Attributes
    ----------
    task, state, reason, message : str
    exit_code : int or None
    summary : str
        One sentence.
    containers : list of Container
        Each run: `pod`, `container`, `exit_code`, `reason`, `meaning`, `message` (the termination message), `ended`,
        `last` (its last lines).
    culprit : Container or None
        The container that failed first.
    error : Error or None
        The last error of that container, or else of the task. If the task succeeded, it is an error of a run that
        failed before, or None; `errors` has the errors that it handled.
    errors : list of Error
    events : list of dict
        The cluster's warnings, and gaps in the recording: `time`, `reason`, `message`.
    evidence : list of Evidence
        If several containers failed: the cause, then the failures that followed, in their order: `seq` (as in
        `log.seq[seq]`), `time` (by the recorder's clock), `who`, `what`, `text`.
    hang : str
        What `log.hangs()` says of a task that runs; empty if it makes steps.
    """

    def __init__(self, task: str, status: Any, diagnosis: Diagnosis, hang: str = "") -> None:
        self.task, self.state, self.reason, self.message = task, status.state, status.reason, status.message
        self.exit_code: int | None = status.exit_code
        self._ended_well: bool = status.ended_well
        self.containers, self.events, self.errors = diagnosis.containers, diagnosis.events, diagnosis.errors
        self.culprit, self.error, self.evidence = diagnosis.culprit, diagnosis.error, diagnosis.evidence
        self.hang = hang
        self._story, self._stood_still, self._process = diagnosis.story, diagnosis.stood_still, diagnosis.process
        self.summary = self._summary()

    def _summary(self) -> str:
        if self.reason == "Opened":
            return "a file has no exit status; see its last lines"
        if self._ended_well:
            failed = sum(1 for c in self.containers if c.exit_code)
            runs = f", after {failed} {'run' if failed == 1 else 'runs'} that failed" if failed else ""
            return f"it ended well: {self.message}{runs}"
        if self.state == "pending":
            return f"it has not started: {self.message}"
        if self.state == "running" and self.culprit is None:
            return f"it has not ended: {self.message}{f'; {self.hang}' if self.hang else ''}"
        if self.culprit is None:
            last = self.events[-1]["message"] if self.events else ""
            return f"{self.message}{f'; {last}' if last else ''}"
        failure = self._failure(self.culprit)
        return f"{self._now(self.culprit)}{failure}" if self.state == "running" else failure

    def _now(self, culprit: Container) -> str:
        """Return what a task that has not ended does after a container of it failed, as the beginning of a sentence."""
        if self.reason == "Retrying":
            return "it waits to run again; before, "
        # Otherwise in Kubernetes' words: a container may wait to run again (CrashLoopBackOff).
        if self.reason not in _GOES_ON and not self.message.startswith("Running"):
            return f"it is in state {self.reason}; before, "
        if any(_replaces(container, culprit) for container in self.containers):
            return "it runs again; before, "
        first = "" if self.evidence or not (culprit.role and culprit.rank) else f"{culprit.name} failed first: "
        return f"{'every pod has ended, and it has no end yet' if self.reason == 'Ended' else 'it still runs'}; {first}"

    def _failure(self, container: Container) -> str:
        if self._stood_still:
            return f"{container.name} stood still: {self._story}"
        meaning = f" ({container.meaning})" if container.meaning and container.reason != "OOMKilled" else ""
        how = (
            "was " + container.meaning
            if container.reason == "OOMKilled"
            else f"ended with exit code {container.exit_code}{meaning}"
        )
        if container.reason in NOT_STARTED:
            how = f"could not be started ({container.reason}, exit code {container.exit_code})"
        if container.message:
            how += f": {' '.join(container.message.split())[:500]}"
        run = f" in its run {container.run}" if container.run else ""
        process = f" (rank {self._process})" if self._process and self._process != container.rank else ""
        who = f"{container.container} of {container.pod}{process}{run}"
        if self.evidence:
            who = f"{container.name} failed first: {who}" if container.role else f"{who} failed first: it"
        after_error = f", after {self.error.title[:200]}" if self.error and container.pod in self.error.pods else ""
        then = f"; {self._story}" if self._story else ""
        why = (
            f"; {self.reason}"
            if self.state == "failed" and self.reason not in ("", "Error", container.reason, "BackoffLimitExceeded")
            else ""
        )
        return f"{who} {how}{after_error}{then}{why}"

    @property
    def _state_shown(self) -> str:
        return "" if self.reason == "Opened" else self.state

    @property
    def _error_title(self) -> str:
        if self.evidence:
            return "the cause"
        return "the last error of a run that failed" if self._ended_well else "the last error"

    def __str__(self) -> str:
        parts = [f"{self.task}{self._state_shown and ' '}{self._state_shown}: {self.summary}"]
        if self.error is not None:
            parts.append(
                f"\n{self._error_title}{_counted(self.error)}\n{_indented([*self.error.context, *self.error.text.splitlines()])}"
            )
        if self.evidence:
            lines = self._evidence_shown()
            widths = [max(len(line[column]) for line in lines) for column in range(3)]
            rows = ["  ".join(map(str.ljust, line[:3], widths)) + f"  {line[3]}" for line in lines]
            parts.append(f"\n{_ORDER}\n{_indented(rows)}")
        if self.events:
            parts.append(
                "\nwhat the cluster said\n"
                + _indented([f"{e['time'][11:19]} {e['message']}" for e in self.events[-_EVENTS:]])
            )
        parts += [
            f"\n{_ended(container)}\n{_indented(container.last[-_SHOWN_LINES:])}"
            for container in self._containers_shown()
        ]
        return "\n".join(parts)

    __repr__ = __str__

    def _evidence_shown(self) -> list[tuple[str, str, str, str]]:
        """Return for each line of evidence its time, who wrote it, the code for the line, and what it says."""
        return [
            (
                f"{e.time.astimezone():%H:%M:%S.%f}"[:-3],
                e.who,
                f"log.seq[{e.seq}]" if e.seq is not None else "",
                f"{e.what}{': ' if e.text else ''}{' '.join(e.text.split())[:160]}",
            )
            for e in self.evidence
        ]

    def _containers_shown(self) -> list[Container]:
        """Return the containers whose last lines are shown: the failed ones, or else the main ones."""
        bad = [c for c in self.containers if c.exit_code]
        return sorted(bad or [c for c in self.containers if c.kind == "main"], key=lambda c: c is not self.culprit)[
            :_CONTAINERS
        ]

    def _repr_html_(self) -> str:
        colour = _GOOD if self._ended_well else _BAD if self.state in ("failed", "gone") or self.culprit else "#888"
        parts = [
            f'<div style="border-left:4px solid {colour};padding:.3em .8em;font-size:110%"><b>{escape(self.task)}</b> <span style="color:{colour}">{escape(self._state_shown)}</span><br>{escape(self.summary)}</div>'
        ]
        if self.error is not None:
            parts.append(_title(self._error_title.capitalize()) + card(self.error, is_open=True))
        if self.evidence:
            rows = [[escape(text) for text in line] for line in self._evidence_shown()]
            for row in rows:
                row[2] = row[2] and f"<code>{row[2]}</code>"
                row[:3] = [f'<span style="white-space:nowrap">{text}</span>' for text in row[:3]]
            parts.append(_title(_ORDER.capitalize()) + html_table(["", "", "", ""], rows))
        if self.events:
            lines = "".join(
                f'<div><span style="opacity:.6">{e["time"][11:19]}</span> {escape(e["message"])}</div>'
                for e in self.events[-_EVENTS:]
            )
            parts.append(f'{_title("What the cluster said")}<div style="{MONO}">{lines}</div>')
        if not self._ended_well or any(c.exit_code for c in self.containers):
            parts.append(_title("The last lines"))
            for container in self._containers_shown():
                lines = "".join(f"<div>{escape(line) or '&nbsp;'}</div>" for line in container.last)
                opened = " open" if container is self.culprit and self.error is None else ""
                parts.append(
                    f'<details{opened} style="margin:.2em 0"><summary style="cursor:pointer">{escape(_ended(container))}</summary><div style="{MONO};padding-left:1.2em;opacity:.85">{lines}</div></details>'
                )
        return f'<div class="cortex-why">{"".join(parts)}</div>'


def _replaces(container: Container, failed: Container) -> bool:
    """Return whether a container is a later run of one that failed, or is in a pod that was made in place of its pod."""
    if (container.pod, container.container) == (failed.pod, failed.container):
        return container.run > failed.run
    if not container.started or not failed.ended or container.started < failed.ended:
        return False
    return (container.container, container.role, container.rank) == (failed.container, failed.role, failed.rank)


def _counted(error: Error) -> str:
    return f" ({error.count}x, in {len(error.pods)} {'pod' if len(error.pods) == 1 else 'pods'})"


def _ended(container: Container) -> str:
    run = f" run {container.run}" if container.run else ""
    if container.exit_code is None:
        return f"{container.pod}/{container.container}{run}: not seen to end"
    meaning = container.meaning or (container.reason if container.reason != "Completed" else "")
    how = f"exit {container.exit_code}{f', {meaning}' if meaning else ''}"
    return f"{container.pod}/{container.container}{run}: {how}" + (
        f"\n  {container.message}" if container.message else ""
    )


def _indented(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _title(text: str) -> str:
    return f'<div style="margin:.7em 0 .2em;font-weight:600">{text}</div>'
