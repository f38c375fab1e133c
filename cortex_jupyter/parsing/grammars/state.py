"""The state of a traceback that is being parsed, and the forms that several grammars share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

#: A grammar's verdict on the next line: it belongs to the traceback, it belongs if a later line does, it does not, or
#: another thread or process wrote it in the middle of the traceback, which continues.
YES, MAYBE, NO, APART = "yes", "maybe", "no", "apart"
#: The line of an exception. A lower-case word without a dot is the name of an exception only if it ends like one. A level
#: word is none: it begins another line.
RAISED: Final = re.compile(
    r"^(?!(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b)"
    r"((?:(?:[A-Za-z_]\w*|<locals>)\.)+\w+|[A-Z_]\w*|(?:[a-z]\w*)?(?:error|exception))(?::(?:\s+(.*)|\s*)|)$"
)
FILE: Final = re.compile(r'^[\s|>]*File "(.*)", line (\d+)(?:, in (.*)| in (.*)|)$')
#: Lines that PyTorch and NCCL write below an exception without indentation.
MORE: Final = re.compile(
    r"^(?:CUDA kernel errors might|For debugging consider|Compile with `TORCH_USE_CUDA_DSA`|Device-side assert"
    r"|Exception raised from |\s*frame #\d+: |nccl\w+Error: |Last error:|Cuda failure |See documentation for Memory"
    r"|If reserved but unallocated|Search for `cuda|The client socket has|Original exception|Exception type:|Detail: )"
)
NATIVE_FRAME: Final = re.compile(r"^\s*frame #\d+: (.+?)(?: \+ 0x[0-9a-f]+)? \((?:0x[0-9a-f]+ in )?(.*)\)$")


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the program. Values that the traceback does not show are empty or None.

    Parameters
    ----------
    file, function : str
    line : int or None
    code : str
        The line of source, if the traceback shows it.
    """

    file: str
    line: int | None
    function: str
    code: str = ""


@dataclass(slots=True)
class TracebackState:
    """A traceback, as far as its lines have been parsed."""

    kind: str
    type: str = ""
    message: str = ""
    frames: list[Frame] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    phase: str = ""
    prefix: str = ""
    #: Number of lines since the last certain one: more of the exception's message, or lines of another thread.
    lines_after: int = 0
    #: The last certain line is a frame's code, so that the exception, or a further frame, is next.
    is_code: bool = False
    #: Function and code that pytest shows above the place in the file.
    above: tuple[str, str] = ("", "")
