"""The grammars of tracebacks: which lines begin one, which go on, what they say.

Each grammar is a small machine over the lines of one source. `js/src/text/tracebacks.ts` is the same in the page;
`tests/parsing/fixtures/blocks.json` holds both to the same answers.

Where the forms come from: Python's `traceback` and `faulthandler` modules and PEP 654 (exception groups); rich, loguru;
pytest's `_pytest/_code/code.py` (`ExceptionRepr`: the styles long, short and native);
`java.lang.Throwable.printStackTrace` and logback's `ThrowableProxyConverter`; V8's `Error.prototype.stack`; Go's
`runtime/panic.go` and `traceback.go`; PyTorch's `c10/util/Backtrace.cpp` and its device assertions; NCCL's `debug.cc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.grammars.compiled import cuda, go, java, native, nccl
from cortex_jupyter.parsing.grammars.heads import begin, begin_above
from cortex_jupyter.parsing.grammars.python import python
from cortex_jupyter.parsing.grammars.said import MAYBE, NO, YES, Frame, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MAYBE", "NO", "YES", "Frame", "Said", "begin", "begin_above", "step"]


def step(said: Said, line: str) -> str:
    """Take the next line of the source: say whether it belongs, and keep what it says."""
    if said.prefix and said.kind == "python":
        bare = said.prefix.rstrip()
        line = line[len(said.prefix) :] if line.startswith(said.prefix) else "" if line.rstrip() == bare else line
    return _STEPS[said.kind](said, line)


_STEPS: Final[Mapping[str, Callable[[Said, str], str]]] = {
    "python": python, "java": java, "go": go, "native": native, "nccl": nccl, "cuda": cuda,
}  # fmt: skip
