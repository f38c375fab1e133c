"""Python tracebacks: as Python, rich and loguru write them, exception groups, and pytest's reports of failed tests."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.heads import GROUP, begin, header
from cortex_jupyter.parsing.grammars.state import (
    APART,
    FILE,
    MAYBE,
    MORE,
    NATIVE_FRAME,
    NO,
    RAISED,
    YES,
    Frame,
    TracebackState,
)

_GROUPED: Final = re.compile(r"^[\s|]*\| ([A-Za-z_][\w.]*): (.*)$")
_CHAIN: Final = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$"
)
#: The last line of an exception group, or of a group in it.
_GROUP_END: Final = re.compile(r"^\s*\+-+$")
#: The name of an exception that ends like one.
_NAMED: Final = re.compile(r"(?:[Ee]rror|[Ee]xception|Exit|Interrupt|Group|Iteration|Warning)$")
_LETTER: Final = re.compile("[A-Za-z]")
#: At most this many lines of other threads or processes in a row between two lines of a traceback.
_MAX_APART: Final = 5
_BOXED: Final = re.compile(r"^│ (\S+):(\d+) in (\S+)\s*│\s*$")
_NO_CODE: Final = re.compile(r"^[\s|]*(?:[~^\s]+|\[Previous line repeated .*|File .*|\+[-+].*)$")
#: The sentence that chains an exception to the next one must come within this many lines of its message.
_MAX_MESSAGE_LINES: Final = 20
#: Lines of a failed test's report: the end of its section, an exception, a place in a file, a function above it.
_PART: Final = re.compile(r"^(?:=+ .* =+|-+ Captured .* -+)$")
_RAISED_IN: Final = re.compile(r"^E(?: {2,}(.*))?$")
_PLACE: Final = re.compile(r"^(\S[^:]*):(\d+): ?(?:in (.+)|([A-Za-z_][\w.]*)|)$")
_DEF: Final = re.compile(r"^\s+(?:async )?def (\w+)\(")
#: The exception must come within this many lines of code and values.
_MAX_CODE_LINES: Final = 200


def python(state: TracebackState, line: str) -> str:
    """Process a line of a traceback, or a line after its exception."""
    blank = not line.strip()
    if state.phase in ("raised", "chain"):
        return MAYBE if blank else _after(state, line)
    if part := _PARTS.get(state.phase):
        return part(state, line)
    if blank:
        return MAYBE
    if state.phase == "box" and line[0] in "│╰├":
        if match := _BOXED.match(line):
            state.frames.append(Frame(match[1], int(match[2]), match[3]))
        return YES
    if state.phase == "frames" and _is_of_frame(state, line):
        state.lines_after = 0
        state.is_code = not FILE.match(line)
        _frame(state, line)
        return YES
    return _raised(state, line)


def _is_of_frame(state: TracebackState, line: str) -> bool:
    """Return whether a line is a frame's place or code. After a line of another thread, other indented lines are not."""
    if state.lines_after:
        return line.startswith(("    ", '  File "')) and not begin(line)
    return (line[0] in " \t" or line.startswith("> File ")) and not begin(line)


def _after(state: TracebackState, line: str) -> str:
    """Process a line after the exception's: more of its message, or the sentence that leads to the next exception."""
    # PyTorch writes the traceback of a worker process into the message of the exception (`torch/_utils.py`).
    if (head := header(line)) and (state.phase == "chain" or head[1] == "Original "):
        state.chain.append(f"{state.type}: {state.message}" if state.message else state.type)
        state.type, state.message, state.phase, state.lines_after = "", "", head[0], 0
        return YES
    if _CHAIN.match(line):
        state.phase, state.lines_after = "chain", 0
        return YES
    if state.phase == "chain":
        return NO
    if state.lines_after == 0 and (MORE.match(line) or line[0] in " \t") and not begin(line):
        if match := NATIVE_FRAME.match(line):
            state.frames.append(Frame(match[2], None, match[1]))
        return YES
    state.lines_after += 1
    return NO if state.lines_after > _MAX_MESSAGE_LINES or begin(line) else MAYBE


def _raised(state: TracebackState, line: str) -> str:
    # After a line of another thread, `Done` or `Epoch: 3` is one more of them. `MyAbort: no data` after a frame and one such
    # line is the exception.
    if (match := RAISED.match(line)) and (
        not state.lines_after
        or "." in match[1]
        or _NAMED.search(match[1])
        or (state.is_code and state.lines_after == 1 and _LETTER.search(match[2] or ""))
    ):
        state.type, state.message, state.phase = match[1], (match[2] or "").rstrip(), "raised"
        state.lines_after = 0
        return YES
    return _apart(state, line) if state.phase == "frames" else NO


def _apart(state: TracebackState, line: str) -> str:
    """Return the verdict on a line that another thread or process wrote between the lines of a traceback."""
    state.lines_after += 1
    return NO if state.lines_after > _MAX_APART or begin(line) else APART


def _group(state: TracebackState, line: str) -> str:
    if not line.strip():
        state.phase = "raised"
        return MAYBE
    if line.lstrip()[:1] not in ("|", "+"):
        return NO if state.phase == "group end" else _apart(state, line)
    if line.lstrip().startswith(GROUP):
        return NO  # the next group
    state.phase, state.lines_after = "group end" if _GROUP_END.match(line) else "group", 0
    if match := _GROUPED.match(line):
        if state.type:
            state.chain.append(f"{match[1]}: {match[2]}")
        else:
            state.type, state.message = match[1], match[2]
    else:
        _frame(state, line)
    return YES


def _frame(state: TracebackState, line: str) -> None:
    if match := FILE.match(line):
        state.frames.append(Frame(match[1], int(match[2]), match[3] or match[4] or ""))
    elif state.frames and not state.frames[-1].code and not _NO_CODE.match(line):
        last = state.frames[-1]
        state.frames[-1] = Frame(last.file, last.line, last.function, line.lstrip(" \t|").rstrip())


def failure(state: TracebackState, line: str) -> str:
    """Process a line of pytest's report of a failed test. Lines belong up to the last one that has information."""
    if raised := _RAISED_IN.match(line):
        text = (raised[1] or "").strip()
        if state.phase == "test" and state.type:
            state.chain.append(f"{state.type}: {state.message}" if state.message else state.type)
        if state.phase == "test" or (not state.type and state.message.startswith('File "')):
            match = RAISED.match(text)
            bare = "AssertionError" if text.startswith("assert ") else ""
            state.type, state.message = (match[1], match[2] or "") if match else (bare, text)
        state.phase, state.lines_after = "test raised", 0
        return YES
    state.lines_after += 1
    if begin(line) or _PART.match(line) or state.lines_after > _MAX_CODE_LINES:
        return NO
    if location := _PLACE.match(line):
        function, code = state.above
        state.frames.append(Frame(location[1], int(location[2]), location[3] or function, code))
        if state.phase == "test raised":
            state.type = state.type or location[4] or ""
        state.phase, state.above = "test", ("", "")
        return YES if state.type or state.message else MAYBE
    if match := _DEF.match(line):
        state.above = (match[1], "")
    elif line.startswith(">"):
        state.above = (state.above[0], line[1:].strip())
    elif state.frames and not state.frames[-1].code and line.startswith("    ") and line.strip():
        last = state.frames[-1]
        state.frames[-1] = Frame(last.file, last.line, last.function, line.strip())
    return MAYBE


_PARTS: Final = {"group": _group, "group end": _group, "test": failure, "test raised": failure}
