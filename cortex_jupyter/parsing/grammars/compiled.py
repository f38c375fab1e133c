"""Tracebacks of Java and JavaScript, Go, C++ and what runs below Python: NCCL, CUDA."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.heads import ASSERT, ROUTINE
from cortex_jupyter.parsing.grammars.said import FILE, MAYBE, MORE, NATIVE_FRAME, NO, YES, Frame, Said

_JAVA: Final = re.compile(r"^\s+at (?:.*[/@])?([\w$.<>]+)\(([^:()]*)(?::(\d+))?\)")
_SCRIPT: Final = re.compile(r"^\s+at (?:async )?(?:(.+?) \()?(?:file://)?(.+?):(\d+):\d+\)?\s*$")
_CAUSED: Final = re.compile(r"^\s*(?:Caused by|Suppressed|Wrapped by|\[cause\]): (.*)$")
_GO_ON: Final = re.compile(
    r"^(?:\t\S.*|\[signal .*|\s*panic: .*|created by \S.*|exit status \d+|runtime: .*|r\w+\s+0x[0-9a-f]+"
    r"|\.\.\.additional frames elided\.\.\.)$"
)
_GO_CALL: Final = re.compile(r"^(?:created by )?([\w./*()\[\]{}·$@~-]+?)(?:\([^()]*\)| in goroutine \d+)?$")
_GO_FILE: Final = re.compile(r"^\t(\S+):(\d+)(?: .*)?$")
_WHAT: Final = re.compile(r"^\s+what\(\):\s+(.*)$")
_FATAL_ON: Final = re.compile(
    r"^(?:(?:Current t|T)hread 0x\S+.*\(most recent call first\):|Python runtime state: .*"
    r"|Extension modules: .*|\s+(?:File |\.\.\.|<no Python frame>).*)$"
)
_NCCL_ON: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL (?:INFO (\S+):(\d+) -> \d+.*|WARN .*)$")


def java(said: Said, line: str) -> str:
    """Take a frame of Java or JavaScript, or what caused the exception."""
    if found := _CAUSED.match(line):
        said.chain.append(found[1])
        return YES
    if found := _JAVA.match(line):
        said.frames.append(Frame(found[2], int(found[3]) if found[3] else None, found[1]))
    elif found := _SCRIPT.match(line):
        said.frames.append(Frame(found[2], int(found[3]), found[1] or ""))
    return YES if line[:1] in (" ", "\t") and line.strip() else NO


def go(said: Said, line: str) -> str:
    """Take a line of a goroutine."""
    if not line.strip():
        if said.frames:
            said.state = "others"
        return MAYBE
    if ROUTINE.match(line):
        # Of many goroutines the first is the one that failed.
        said.state = "others" if said.frames else "calls"
        return YES
    if found := _GO_FILE.match(line):
        if said.state == "calls" and said.frames and said.frames[-1].line is None:
            said.frames[-1] = Frame(found[1], int(found[2]), said.frames[-1].function)
        return YES
    if _GO_ON.match(line) and not line.startswith("created by "):
        return YES
    if said.state != "panic" and ("(" in line or line.startswith("created by ")) and (found := _GO_CALL.match(line)):
        if said.state == "calls":
            said.frames.append(Frame("", None, found[1]))
        return YES
    return NO


def native(said: Said, line: str) -> str:
    """Take a line of what C++ or the interpreter itself ended with."""
    if not line.strip():
        return MAYBE
    if said.state == "python":
        if found := FILE.match(line):
            said.frames.append(Frame(found[1], int(found[2]), found[4] or ""))
        return YES if _FATAL_ON.match(line) else NO
    if found := _WHAT.match(line):
        said.message = found[1]
        return YES
    if found := NATIVE_FRAME.match(line):
        said.frames.append(Frame(found[2], None, found[1]))
        return YES
    return YES if MORE.match(line) else NO


def nccl(said: Said, line: str) -> str:
    """Take a line by which NCCL says where it warned."""
    if not line.strip():
        return MAYBE
    if found := _NCCL_ON.match(line):
        if found[1]:
            said.frames.append(Frame(found[1], int(found[2]), ""))
        return YES
    return NO


def cuda(said: Said, line: str) -> str:
    """Take the same assertion of another thread."""
    return YES if (found := ASSERT.match(line)) and found[4] == said.message else NO
