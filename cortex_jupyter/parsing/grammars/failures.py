"""What pytest shows of a failed test."""

from __future__ import annotations

import re
from typing import Final

from cortex_jupyter.parsing.grammars.heads import begin
from cortex_jupyter.parsing.grammars.said import MAYBE, NO, RAISED, YES, Frame, Said

#: What ends its part, what was raised, the place, the function above it.
_PART: Final = re.compile(r"^(?:=+ .* =+|-+ Captured .* -+)$")
_RAISED_IN: Final = re.compile(r"^E(?: {2,}(.*))?$")
_PLACE: Final = re.compile(r"^(\S[^:]*):(\d+): ?(?:in (.+)|([A-Za-z_][\w.]*)|)$")
_DEF: Final = re.compile(r"^\s+(?:async )?def (\w+)\(")
#: So many lines of code and of values are waited for what was raised.
_SHOWN: Final = 200


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
