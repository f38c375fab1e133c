"""The grammars of tracebacks: which lines begin and continue one, and what they contain.

Each grammar is a small state machine over the lines of one source. `js/src/text/tracebacks.ts` does the same in the page;
`tests/parsing/fixtures/blocks.json` holds both to the same answers.

Sources of the forms: Python's `traceback` and `faulthandler` modules and PEP 654 (exception groups); rich, loguru;
pytest's `_pytest/_code/code.py` (`ExceptionRepr`: the styles long, short and native);
`java.lang.Throwable.printStackTrace` and logback's `ThrowableProxyConverter`; V8's `Error.prototype.stack`; Go's
`runtime/panic.go` and `traceback.go`; Rust's `library/std/src/panicking.rs` and `sys/backtrace.rs`; PyTorch's `c10/util/Backtrace.cpp` and its device assertions; NCCL's `debug.cc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.grammars.compiled import cuda, go, java, native, nccl, rust
from cortex_jupyter.parsing.grammars.heads import begin, begin_above
from cortex_jupyter.parsing.grammars.python import python
from cortex_jupyter.parsing.grammars.state import APART, MAYBE, NO, YES, Frame, TracebackState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["APART", "MAYBE", "NO", "YES", "Frame", "TracebackState", "begin", "begin_above", "step"]


def step(state: TracebackState, line: str) -> str:
    """Process the next line of the source, and return whether it belongs to the traceback."""
    if state.prefix and state.kind == "python":
        bare = state.prefix.rstrip()
        line = line[len(state.prefix) :] if line.startswith(state.prefix) else "" if line.rstrip() == bare else line
    return _STEPS[state.kind](state, line)


_STEPS: Final[Mapping[str, Callable[[TracebackState, str], str]]] = {
    "python": python,
    "java": java,
    "go": go,
    "rust": rust,
    "native": native,
    "nccl": nccl,
    "cuda": cuda,
}
