r"""The grammars of tracebacks: which lines begin one, which go on, what they say.

Each grammar is a small machine over the lines of one source. `js/src/store/parsing/grammars.ts` is the same in the page;
`tests/parsing/fixtures/blocks.json` holds both to the same answers.

Where the forms come from: Python's `traceback` and `faulthandler` modules and PEP 654 (exception groups); rich, loguru;
pytest's `_pytest/_code/code.py` (`ExceptionRepr`: the styles long, short and native);
`java.lang.Throwable.printStackTrace` and logback's `ThrowableProxyConverter`; V8's `Error.prototype.stack`; Go's
`runtime/panic.go` and `traceback.go`; PyTorch's `c10/util/Backtrace.cpp` and its device assertions; NCCL's `debug.cc`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

#: What a grammar says of the next line: it belongs, it belongs if a later one does, it does not.
YES, MAYBE, NO = "yes", "maybe", "no"


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the program. What a traceback does not say is empty, or None.

    Parameters
    ----------
    file, function : str
    line : int or None
    code : str
        The line of source, where the traceback shows it.
    """

    file: str
    line: int | None
    function: str
    code: str = ""


@dataclass(slots=True)
class Said:
    """What a traceback says so far."""

    kind: str
    type: str = ""
    message: str = ""
    frames: list[Frame] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    state: str = ""
    prefix: str = ""
    #: Lines since the exception that may be more of its message.
    loose: int = 0
    #: Function and code that pytest shows above the place.
    above: tuple[str, str] = ("", "")


_HEADER: Final = "Traceback (most recent call last):"
_GROUP: Final = "+ Exception Group "
_BOX: Final = re.compile(r"^(.*?)╭─+ Traceback \(most recent call last\) ─+╮\s*$")
#: A bare small word is not the name of an exception.
_RAISED: Final = re.compile(r"^((?:[A-Za-z_]\w*\.)+\w+|[A-Z_]\w*)(?::(?:\s+(.*)|\s*)|)$")
_GROUPED: Final = re.compile(r"^[\s|]*\| ([A-Za-z_][\w.]*): (.*)$")
_CHAIN: Final = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$"
)
_FILE: Final = re.compile(r'^[\s|>]*File "(.*)", line (\d+)(?:, in (.*)| in (.*)|)$')
_BOXED: Final = re.compile(r"^│ (\S+):(\d+) in (\S+)\s*│\s*$")
_NO_CODE: Final = re.compile(r"^[\s|]*(?:[~^\s]+|\[Previous line repeated .*|File .*|\+[-+].*)$")
#: So many lines of a message are waited for the sentence that chains it to the next exception.
_LOOSE: Final = 20
#: What PyTorch and NCCL write below an exception without indenting it.
_MORE: Final = re.compile(
    r"^(?:CUDA kernel errors might|For debugging consider|Compile with `TORCH_USE_CUDA_DSA`|Device-side assert"
    r"|Exception raised from |\s*frame #\d+: |nccl\w+Error: |Last error:|Cuda failure |See documentation for Memory"
    r"|If reserved but unallocated|Search for `cuda|The client socket has|Original exception|Exception type:|Detail: )"
)
#: Of pytest: the head of a failed test, what ends its part, what was raised, the place, the function above it.
_TEST: Final = re.compile(r"^_+ [^_\s].* _+$")
_PART: Final = re.compile(r"^(?:=+ .* =+|-+ Captured .* -+)$")
_RAISED_IN: Final = re.compile(r"^E(?: {2,}(.*))?$")
_PLACE: Final = re.compile(r"^(\S[^:]*):(\d+): ?(?:in (.+)|([A-Za-z_][\w.]*)|)$")
_DEF: Final = re.compile(r"^\s+(?:async )?def (\w+)\(")
#: So many lines of code and of values are waited for what was raised.
_SHOWN: Final = 200
_AT: Final = re.compile(r"^\s+at (?:[\w$.<>/@ -]+\([^()]*\)(?: ~?\[.*\])?|.*:\d+:\d+\)?)\s*$")
_JAVA: Final = re.compile(r"^\s+at (?:.*[/@])?([\w$.<>]+)\(([^:()]*)(?::(\d+))?\)")
_SCRIPT: Final = re.compile(r"^\s+at (?:async )?(?:(.+?) \()?(?:file://)?(.+?):(\d+):\d+\)?\s*$")
_THROWN: Final = re.compile(r"((?:[a-zA-Z_$][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable)|\bError)(?::\s*(.*))?$")
_CAUSED: Final = re.compile(r"^\s*(?:Caused by|Suppressed|Wrapped by|\[cause\]): (.*)$")
_GO: Final = re.compile(r"^(panic|fatal error|unexpected fault address|SIG[A-Z]+):? (.*)$")
_ROUTINE: Final = re.compile(r"^goroutine \d+ [^\[]*\[[^\]]*\]:$")
_GO_ON: Final = re.compile(
    r"^(?:\t\S.*|\[signal .*|\s*panic: .*|created by \S.*|exit status \d+|runtime: .*|r\w+\s+0x[0-9a-f]+"
    r"|\.\.\.additional frames elided\.\.\.)$"
)
_GO_CALL: Final = re.compile(r"^(?:created by )?([\w./*()\[\]{}·$@~-]+?)(?:\([^()]*\)| in goroutine \d+)?$")
_GO_FILE: Final = re.compile(r"^\t(\S+):(\d+)(?: .*)?$")
_NATIVE: Final = re.compile(r"^terminate called after throwing an instance of '(.+)'")
_WHAT: Final = re.compile(r"^\s+what\(\):\s+(.*)$")
_NATIVE_FRAME: Final = re.compile(r"^\s*frame #\d+: (.+?)(?: \+ 0x[0-9a-f]+)? \((?:0x[0-9a-f]+ in )?(.*)\)$")
_FATAL: Final = re.compile(r"^(Fatal Python error): (.*)$")
_FATAL_ON: Final = re.compile(
    r"^(?:(?:Current t|T)hread 0x\S+.*\(most recent call first\):|Python runtime state: .*"
    r"|Extension modules: .*|\s+(?:File |\.\.\.|<no Python frame>).*)$"
)
_NCCL: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL WARN (.*)$")
_NCCL_ON: Final = re.compile(r"^\S+:\d+:\d+ \[\d+\] (?:\S+ )*?NCCL (?:INFO (\S+):(\d+) -> \d+.*|WARN .*)$")
_ASSERT: Final = re.compile(r"^(\S+):(\d+): (\S+): block: \[.*?\], thread: \[.*?\] Assertion `(.*)` failed")


def begin(line: str) -> Said | None:
    """Give what a line that begins a traceback says; None where it begins none."""
    said: Said | None = None
    first = line[:1]
    if "Traceback (most" in line:
        if start := _header(line):
            said = Said("python", state=start[0], prefix=start[1])
        elif head := _BOX.match(line):
            said = Said("python", state="box", prefix=head[1])
    elif first and first in "pfuS" and (head := _GO.match(line)):
        said = Said("go", head[1], head[2].strip(), state="panic")
    elif first == "g" and _ROUTINE.match(line):
        said = Said("go", "goroutine", line[10:].rstrip(":"), state="calls")
    elif first == "t" and (head := _NATIVE.match(line)):
        said = Said("native", head[1])
    elif first == "F" and (head := _FATAL.match(line)):
        said = Said("native", head[1], head[2], state="python")
    elif first == "_" and _TEST.match(line):
        said = Said("python", state="test")
    elif "NCCL WARN " in line and (head := _NCCL.match(line)):
        said = Said("nccl", "NCCL WARN", head[1])
    elif ": block: [" in line and (head := _ASSERT.match(line)):
        said = Said("cuda", "CUDA assertion", head[4], [Frame(head[1], int(head[2]), head[3])])
    return said


def _header(line: str) -> tuple[str, str] | None:
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


def step(said: Said, line: str) -> str:
    """Take the next line of the source: say whether it belongs, and keep what it says."""
    if said.prefix and said.kind == "python":
        bare = said.prefix.rstrip()
        line = line[len(said.prefix) :] if line.startswith(said.prefix) else "" if line.rstrip() == bare else line
    return _STEPS[said.kind](said, line)


def _python(said: Said, line: str) -> str:
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
    if said.state == "chain" and (head := _header(line)):
        said.chain.append(f"{said.type}: {said.message}" if said.message else said.type)
        said.type = said.message = ""
        said.state = head[0]
        return YES
    if _CHAIN.match(line):
        said.state, said.loose = "chain", 0
        return YES
    if said.state == "chain":
        return NO
    if said.loose == 0 and (_MORE.match(line) or line[0] in " \t"):
        if found := _NATIVE_FRAME.match(line):
            said.frames.append(Frame(found[2], None, found[1]))
        return YES
    said.loose += 1
    return NO if said.loose > _LOOSE or begin(line) else MAYBE


def _raised(said: Said, line: str) -> str:
    if found := _RAISED.match(line):
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


def _test(said: Said, line: str) -> str:
    """Take a line of what pytest shows of a failed test; all lines up to the last that tells something belong."""
    if raised := _RAISED_IN.match(line):
        text = (raised[1] or "").strip()
        if said.state == "test" and said.type:
            said.chain.append(f"{said.type}: {said.message}" if said.message else said.type)
        if said.state == "test" or (not said.type and said.message.startswith('File "')):
            found = _RAISED.match(text)
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


def _frame(said: Said, line: str) -> None:
    if found := _FILE.match(line):
        said.frames.append(Frame(found[1], int(found[2]), found[3] or found[4] or ""))
    elif said.frames and not said.frames[-1].code and not _NO_CODE.match(line):
        last = said.frames[-1]
        said.frames[-1] = Frame(last.file, last.line, last.function, line.lstrip(" \t|").rstrip())


def _java(said: Said, line: str) -> str:
    if found := _CAUSED.match(line):
        said.chain.append(found[1])
        return YES
    if found := _JAVA.match(line):
        said.frames.append(Frame(found[2], int(found[3]) if found[3] else None, found[1]))
    elif found := _SCRIPT.match(line):
        said.frames.append(Frame(found[2], int(found[3]), found[1] or ""))
    return YES if line[:1] in (" ", "\t") and line.strip() else NO


def _go(said: Said, line: str) -> str:
    if not line.strip():
        if said.frames:
            said.state = "others"
        return MAYBE
    if _ROUTINE.match(line):
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


def _native(said: Said, line: str) -> str:
    if not line.strip():
        return MAYBE
    if said.state == "python":
        if found := _FILE.match(line):
            said.frames.append(Frame(found[1], int(found[2]), found[4] or ""))
        return YES if _FATAL_ON.match(line) else NO
    if found := _WHAT.match(line):
        said.message = found[1]
        return YES
    if found := _NATIVE_FRAME.match(line):
        said.frames.append(Frame(found[2], None, found[1]))
        return YES
    return YES if _MORE.match(line) else NO


def _nccl(said: Said, line: str) -> str:
    if not line.strip():
        return MAYBE
    if found := _NCCL_ON.match(line):
        if found[1]:
            said.frames.append(Frame(found[1], int(found[2]), ""))
        return YES
    return NO


def _cuda(said: Said, line: str) -> str:
    return YES if (found := _ASSERT.match(line)) and found[4] == said.message else NO


_PARTS: Final = {"group": _group, "test": _test, "test raised": _test}
_STEPS: Final = {"python": _python, "java": _java, "go": _go, "native": _native, "nccl": _nccl, "cuda": _cuda}
