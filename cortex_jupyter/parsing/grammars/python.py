"""Tracebacks of Python: its own, those of rich and loguru, exception groups; and what pytest shows of a failed test."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.heads import begin, header
from cortex_jupyter.parsing.grammars.said import FILE, MAYBE, MORE, NATIVE_FRAME, NO, RAISED, YES, Frame, Said

_GROUPED: Final = re.compile(r"^[\s|]*\| ([A-Za-z_][\w.]*): (.*)$")
_CHAIN: Final = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$"
)
_BOXED: Final = re.compile(r"^│ (\S+):(\d+) in (\S+)\s*│\s*$")
_NO_CODE: Final = re.compile(r"^[\s|]*(?:[~^\s]+|\[Previous line repeated .*|File .*|\+[-+].*)$")
#: So many lines of a message are waited for the sentence that chains it to the next exception.
_LOOSE: Final = 20
#: Of a failed test: what ends its part, what was raised, the place, the function above it.
_PART: Final = re.compile(r"^(?:=+ .* =+|-+ Captured .* -+)$")
_RAISED_IN: Final = re.compile(r"^E(?: {2,}(.*))?$")
_PLACE: Final = re.compile(r"^(\S[^:]*):(\d+): ?(?:in (.+)|([A-Za-z_][\w.]*)|)$")
_DEF: Final = re.compile(r"^\s+(?:async )?def (\w+)\(")
#: So many lines of code and of values are waited for what was raised.
_SHOWN: Final = 200


def python(said: Said, line: str) -> str:
    """Take a line of a traceback, or of what follows its exception."""
    blank = not line.strip()
    if said.state in ("raised", "chain"):
        return MAYBE if blank else _after(said, line)
    if part := _PARTS.get(said.state):
        return part(said, line)
    if blank:
        return MAYBE
    if said.state == "box" and line[0] in "│╰├":
        if found := _BOXED.match(line):
            said.frames.append(Frame(found[1], int(found[2]), found[3]))
        return YES
    if said.state == "frames" and (line[0] in " \t" or line.startswith("> File ")):
        _frame(said, line)
        return YES
    return _raised(said, line)


def _after(said: Said, line: str) -> str:
    """Take a line behind the exception's: more of its message, or the bridge to the next exception."""
    if said.state == "chain" and (head := header(line)):
        said.chain.append(f"{said.type}: {said.message}" if said.message else said.type)
        said.type = said.message = ""
        said.state = head[0]
        return YES
    if _CHAIN.match(line):
        said.state, said.loose = "chain", 0
        return YES
    if said.state == "chain":
        return NO
    if said.loose == 0 and (MORE.match(line) or line[0] in " \t"):
        if found := NATIVE_FRAME.match(line):
            said.frames.append(Frame(found[2], None, found[1]))
        return YES
    said.loose += 1
    return NO if said.loose > _LOOSE or begin(line) else MAYBE


def _raised(said: Said, line: str) -> str:
    if found := RAISED.match(line):
        said.type, said.message, said.state = found[1], (found[2] or "").rstrip(), "raised"
        return YES
    return NO


def _group(said: Said, line: str) -> str:
    if not line.strip():
        said.state = "raised"
        return MAYBE
    if line.lstrip()[:1] not in ("|", "+"):
        return NO
    if found := _GROUPED.match(line):
        if said.type:
            said.chain.append(f"{found[1]}: {found[2]}")
        else:
            said.type, said.message = found[1], found[2]
    else:
        _frame(said, line)
    return YES


def _frame(said: Said, line: str) -> None:
    if found := FILE.match(line):
        said.frames.append(Frame(found[1], int(found[2]), found[3] or found[4] or ""))
    elif said.frames and not said.frames[-1].code and not _NO_CODE.match(line):
        last = said.frames[-1]
        said.frames[-1] = Frame(last.file, last.line, last.function, line.lstrip(" \t|").rstrip())


def failure(said: Said, line: str) -> str:
    """Take a line of what pytest shows of a failed test; all lines up to the last that tells something belong."""
    if raised := _RAISED_IN.match(line):
        text = (raised[1] or "").strip()
        if said.state == "test" and said.type:
            said.chain.append(f"{said.type}: {said.message}" if said.message else said.type)
        if said.state == "test" or (not said.type and said.message.startswith('File "')):
            found = RAISED.match(text)
            bare = "AssertionError" if text.startswith("assert ") else ""
            said.type, said.message = (found[1], found[2] or "") if found else (bare, text)
        said.state, said.loose = "test raised", 0
        return YES
    said.loose += 1
    if begin(line) or _PART.match(line) or said.loose > _SHOWN:
        return NO
    if place := _PLACE.match(line):
        function, code = said.above
        said.frames.append(Frame(place[1], int(place[2]), place[3] or function, code))
        if said.state == "test raised":
            said.type = said.type or place[4] or ""
        said.state, said.above = "test", ("", "")
        return YES if said.type or said.message else MAYBE
    if found := _DEF.match(line):
        said.above = (found[1], "")
    elif line.startswith(">"):
        said.above = (said.above[0], line[1:].strip())
    elif said.frames and not said.frames[-1].code and line.startswith("    ") and line.strip():
        last = said.frames[-1]
        said.frames[-1] = Frame(last.file, last.line, last.function, line.strip())
    return MAYBE


_PARTS: Final = {"group": _group, "test": failure, "test raised": failure}
