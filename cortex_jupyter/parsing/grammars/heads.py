"""Which lines begin a traceback."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.said import Frame, Said

_HEADER: Final = "Traceback (most recent call last):"
_GROUP: Final = "+ Exception Group "
_BOX: Final = re.compile(r"^(.*?)╭─+ Traceback \(most recent call last\) ─+╮\s*$")
#: Of pytest.
_TEST: Final = re.compile(r"^_+ [^_\s].* _+$")
_AT: Final = re.compile(r"^\s+at (?:[\w$.<>/@ -]+\([^()]*\)(?: ~?\[.*\])?|.*:\d+:\d+\)?)\s*$")
_THROWN: Final = re.compile(r"((?:[a-zA-Z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable)|\bError)(?::\s*(.*))?$")
_GO: Final = re.compile(r"^(panic|fatal error|unexpected fault address|SIG[A-Z]+):? (.*)$")
ROUTINE: Final = re.compile(r"^goroutine \d+ [^\[]*\[[^\]]*\]:$")
_NATIVE: Final = re.compile(r"^terminate called after throwing an instance of '(.+)'")
_FATAL: Final = re.compile(r"^(Fatal Python error): (.*)$")
_NCCL: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL WARN (.*)$")
ASSERT: Final = re.compile(r"^(\S+):(\d+): (\S+): block: \[.*?\], thread: \[.*?\] Assertion `(.*)` failed")


def begin(line: str) -> Said | None:
    """Give what a line that begins a traceback says; None where it begins none."""
    said: Said | None = None
    first = line[:1]
    if "Traceback (most" in line:
        if start := header(line):
            said = Said("python", state=start[0], prefix=start[1])
        elif head := _BOX.match(line):
            said = Said("python", state="box", prefix=head[1])
    elif first and first in "pfuS" and (head := _GO.match(line)):
        said = Said("go", head[1], head[2].strip(), state="panic")
    elif first == "g" and ROUTINE.match(line):
        said = Said("go", "goroutine", line[10:].rstrip(":"), state="calls")
    elif first == "t" and (head := _NATIVE.match(line)):
        said = Said("native", head[1])
    elif first == "F" and (head := _FATAL.match(line)):
        said = Said("native", head[1], head[2], state="python")
    elif first == "_" and _TEST.match(line):
        said = Said("python", state="test")
    elif "NCCL WARN " in line and (head := _NCCL.match(line)):
        said = Said("nccl", "NCCL WARN", head[1])
    elif ": block: [" in line and (head := ASSERT.match(line)):
        said = Said("cuda", "CUDA assertion", head[4], [Frame(head[1], int(head[2]), head[3])])
    return said


def header(line: str) -> tuple[str, str] | None:
    """Give the state and the prefix of a line that ends as Python's header; a regular expression would be slow on blanks."""
    before, found, after = line.partition(_HEADER)
    if not found or after.strip():
        return None
    return ("group", before[: -len(_GROUP)].rstrip()) if before.endswith(_GROUP) else ("frames", before)


def begin_above(line: str, before: str) -> Said | None:
    """Give what a line says that is known for a head only by the frame that follows it."""
    if _AT.match(line):
        return Said("java", thrown[1], thrown[2] or "") if (thrown := _THROWN.search(before)) else None
    if line.lstrip().startswith("frame #") and before.startswith("Exception raised from"):
        return Said("native", "Exception", before)
    return None
