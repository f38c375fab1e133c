"""The first lines of tracebacks."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.state import Frame, TracebackState

_HEADER: Final = "Traceback (most recent call last):"
GROUP: Final = "+ Exception Group "
_BOX: Final = re.compile(r"^(.*?)╭─+ Traceback \(most recent call last\) ─+╮\s*$")
#: The title of a failed test in pytest's report.
_TEST: Final = re.compile(r"^_+ [^_\s].* _+$")
_AT: Final = re.compile(r"^\s+at (?:[\w$.<>/@ -]+\([^()]*\)(?: ~?\[.*\])?|.*:\d+:\d+\)?)\s*$")
_THROWN: Final = re.compile(r"((?:[a-zA-Z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable)|\bError)(?::\s*(.*))?$")
_GO: Final = re.compile(r"^(panic|fatal error|unexpected fault address|SIG[A-Z]+):? (.*)$")
ROUTINE: Final = re.compile(r"^goroutine \d+ [^\[]*\[[^\]]*\]:$")
#: Before Rust 1.73 the message of a panic stands before its place, in quotes.
_PANIC: Final = re.compile(
    r"^thread '[^']*' (?:\(\d+\) )?panicked at (?:'(.*)', )?((?:[A-Za-z]:\\)?[^\s':][^:]*):(\d+):\d+:?$"
)
_NATIVE: Final = re.compile(r"^terminate called after throwing an instance of '(.+)'")
_FATAL: Final = re.compile(r"^(Fatal Python error): (.*)$")
_NCCL: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL WARN (.*)$")
ASSERT: Final = re.compile(r"^(\S+):(\d+): (\S+): block: \[.*?\], thread: \[.*?\] Assertion `(.*)` failed")


def begin(line: str) -> TracebackState | None:
    """Return the state of the traceback that a line begins; None if it begins none."""
    state: TracebackState | None = None
    first = line[:1]
    if "Traceback (most" in line:
        if start := header(line):
            state = TracebackState("python", phase=start[0], prefix=start[1])
        elif head := _BOX.match(line):
            state = TracebackState("python", phase="box", prefix=head[1])
    elif first and first in "pfuS" and (head := _GO.match(line)):
        state = TracebackState("go", head[1], head[2].strip(), phase="panic")
    elif first == "g" and ROUTINE.match(line):
        state = TracebackState("go", "goroutine", line[10:].rstrip(":"), phase="calls")
    elif first == "t" and (head := _NATIVE.match(line)):
        state = TracebackState("native", head[1])
    elif first == "t" and (head := _PANIC.match(line)):
        phase = "message" if head[1] is None else "raised"
        state = TracebackState("rust", "panic", head[1] or "", [Frame(head[2], int(head[3]), "")], phase=phase)
    elif first == "F" and (head := _FATAL.match(line)):
        state = TracebackState("native", head[1], head[2], phase="python")
    elif first == "_" and _TEST.match(line):
        state = TracebackState("python", phase="test")
    elif "NCCL WARN " in line and (head := _NCCL.match(line)):
        state = TracebackState("nccl", "NCCL WARN", head[1])
    elif ": block: [" in line and (head := ASSERT.match(line)):
        state = TracebackState("cuda", "CUDA assertion", head[4], [Frame(head[1], int(head[2]), head[3])])
    return state


def header(line: str) -> tuple[str, str] | None:
    """Return phase and prefix if a line ends with Python's header. A regular expression would be slow on many blanks."""
    before, matched, after = line.partition(_HEADER)
    if not matched or after.strip():
        return None
    return ("group", before[: -len(GROUP)].rstrip()) if before.endswith(GROUP) else ("frames", before)


def begin_above(line: str, before: str) -> TracebackState | None:
    """Return the state of a traceback whose first line, `before`, is recognized only by the frame that follows it."""
    if _AT.match(line):
        return TracebackState("java", thrown[1], thrown[2] or "") if (thrown := _THROWN.search(before)) else None
    if line.lstrip().startswith("frame #") and before.startswith("Exception raised from"):
        return TracebackState("native", "Exception", before)
    return None
