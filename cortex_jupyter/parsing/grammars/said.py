"""What a traceback says, and how it is written wherever it comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

#: What a grammar says of the next line: it belongs, it belongs if a later one does, it does not.
YES, MAYBE, NO = "yes", "maybe", "no"
#: A bare small word is not the name of an exception.
RAISED: Final = re.compile(r"^((?:[A-Za-z_]\w*\.)+\w+|[A-Z_]\w*)(?::(?:\s+(.*)|\s*)|)$")
FILE: Final = re.compile(r'^[\s|>]*File "(.*)", line (\d+)(?:, in (.*)| in (.*)|)$')
#: What PyTorch and NCCL write below an exception without indenting it.
MORE: Final = re.compile(
    r"^(?:CUDA kernel errors might|For debugging consider|Compile with `TORCH_USE_CUDA_DSA`|Device-side assert"
    r"|Exception raised from |\s*frame #\d+: |nccl\w+Error: |Last error:|Cuda failure |See documentation for Memory"
    r"|If reserved but unallocated|Search for `cuda|The client socket has|Original exception|Exception type:|Detail: )"
)
NATIVE_FRAME: Final = re.compile(r"^\s*frame #\d+: (.+?)(?: \+ 0x[0-9a-f]+)? \((?:0x[0-9a-f]+ in )?(.*)\)$")


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
