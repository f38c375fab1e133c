"""Tracebacks of Java and JavaScript, Go, Rust, C++, and of the libraries below Python: NCCL and CUDA."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.heads import ASSERT, ROUTINE, begin
from cortex_jupyter.parsing.grammars.state import FILE, MAYBE, MORE, NATIVE_FRAME, NO, YES, Frame, TracebackState

_JAVA: Final = re.compile(r"^\s+at (?:.*[/@])?([\w$.<>]+)\(([^:()]*)(?::(\d+))?\)")
_SCRIPT: Final = re.compile(r"^\s+at (?:async )?(?:(.+?) \()?(?:file://)?(.+?):(\d+):\d+\)?\s*$")
_CAUSED: Final = re.compile(r"^\s*(?:Caused by|Suppressed|Wrapped by|\[cause\]): (.*)$")
_GO_ON: Final = re.compile(
    r"^(?:\t\S.*|\[signal .*|\s*panic: .*|created by \S.*|exit status \d+|runtime: .*|r\w+\s+0x[0-9a-f]+"
    r"|\.\.\.additional frames elided\.\.\.)$"
)
_GO_CALL: Final = re.compile(r"^(?:created by )?([\w./*()\[\]{}·$@~-]+?)(?:\([^()]*\)| in goroutine \d+)?$")
_GO_FILE: Final = re.compile(r"^\t(\S+):(\d+)(?: .*)?$")
#: Lines that Rust writes below a panic's message: https://doc.rust-lang.org/std/backtrace, `std::panicking`.
_RUST_NOTE: Final = re.compile(r"^(?:note: .*RUST_BACKTRACE.*|stack backtrace:|thread .* aborting\.)$")
_RUST_CALL: Final = re.compile(r"^ +\d+: +(?:0x[0-9a-f]+ - )?(.+)$")
_RUST_PLACE: Final = re.compile(r"^ +at (.+?):(\d+)(?::\d+)?$")
#: A panic's note must come within this many lines of its message.
_MAX_MESSAGE_LINES: Final = 20
_WHAT: Final = re.compile(r"^\s+what\(\):\s+(.*)$")
_FATAL_ON: Final = re.compile(
    r"^(?:(?:Current t|T)hread 0x\S+.*\(most recent call first\):|Python runtime state: .*"
    r"|Extension modules: .*|\s+(?:File |\.\.\.|<no Python frame>).*)$"
)
_NCCL_ON: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL (?:INFO (\S+):(\d+) -> \d+.*|WARN .*)$")


def java(state: TracebackState, line: str) -> str:
    """Process a frame of Java or JavaScript, or the cause of the exception."""
    if match := _CAUSED.match(line):
        state.chain.append(match[1])
        return YES
    if match := _JAVA.match(line):
        state.frames.append(Frame(match[2], int(match[3]) if match[3] else None, match[1]))
    elif match := _SCRIPT.match(line):
        state.frames.append(Frame(match[2], int(match[3]), match[1] or ""))
    return YES if line[:1] in (" ", "\t") and line.strip() and not begin(line) else NO


def go(state: TracebackState, line: str) -> str:
    """Process a line of a goroutine."""
    if not line.strip():
        if state.frames:
            state.phase = "others"
        return MAYBE
    if ROUTINE.match(line):
        # The first of many goroutines is the one that failed.
        state.phase = "others" if state.frames else "calls"
        return YES
    if match := _GO_FILE.match(line):
        if state.phase == "calls" and state.frames and state.frames[-1].line is None:
            state.frames[-1] = Frame(match[1], int(match[2]), state.frames[-1].function)
        return YES
    if _GO_ON.match(line) and not line.startswith("created by "):
        return YES
    if state.phase != "panic" and ("(" in line or line.startswith("created by ")) and (match := _GO_CALL.match(line)):
        if state.phase == "calls":
            state.frames.append(Frame("", None, match[1]))
        return YES
    return NO


def rust(state: TracebackState, line: str) -> str:
    """Process a line of a panic: its message, the note below it, or its backtrace."""
    if state.phase == "message":
        state.message, state.phase = line.strip(), "raised"
        return YES
    if _RUST_NOTE.match(line):
        state.phase = "backtrace" if line == "stack backtrace:" else "raised"
        return YES
    return _rust_call(state, line) if state.phase == "backtrace" else _after_panic(state, line)


def _rust_call(state: TracebackState, line: str) -> str:
    if match := _RUST_CALL.match(line):
        state.frames.append(Frame("", None, match[1]))
    elif match := _RUST_PLACE.match(line):
        state.frames[-1] = Frame(match[1], int(match[2]), state.frames[-1].function)
    return YES if match else NO


def _after_panic(state: TracebackState, line: str) -> str:
    """Process a line of the message after its first one: the values of an assertion are indented."""
    if state.lines_after == 0 and line[:1] == " " and line.strip():
        return YES
    state.lines_after += 1
    return NO if state.lines_after > _MAX_MESSAGE_LINES or begin(line) else MAYBE


def native(state: TracebackState, line: str) -> str:
    """Process a line of a crash of C++ or of the interpreter itself."""
    if not line.strip():
        return MAYBE
    if state.phase == "python":
        if match := FILE.match(line):
            state.frames.append(Frame(match[1], int(match[2]), match[4] or ""))
        return YES if _FATAL_ON.match(line) else NO
    if match := _WHAT.match(line):
        state.message = match[1]
        return YES
    if match := NATIVE_FRAME.match(line):
        state.frames.append(Frame(match[2], None, match[1]))
        return YES
    return YES if MORE.match(line) else NO


def nccl(state: TracebackState, line: str) -> str:
    """Process a line with the place of an NCCL warning."""
    if not line.strip():
        return MAYBE
    if match := _NCCL_ON.match(line):
        if match[1]:
            state.frames.append(Frame(match[1], int(match[2]), ""))
        return YES
    return NO


def cuda(state: TracebackState, line: str) -> str:
    """Process a line: it belongs if it is the same assertion in another thread."""
    return YES if (match := ASSERT.match(line)) and match[4] == state.message else NO
