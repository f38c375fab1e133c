"""Distinguish an error that another process caused from an error of the process itself.

When one process of a distributed task fails, the others report that it is gone, and their launchers report that they
stop everything. The texts come from the libraries' sources and from users' reports:

- NCCL and PyTorch: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, NCCLUtils.hpp, TCPStore.cpp and Utils.hpp;
  NVIDIA/nccl src/misc/socket.cc; issues pytorch/pytorch#118369, pytorch/pytorch#153586, NVIDIA/nccl#795, NVIDIA/nccl#2076
- Gloo: gloo/transport/tcp/pair.cc
- torchrun: torch/distributed/elastic/multiprocessing/errors/__init__.py and api.py
- Open MPI: orte/tools/orterun/help-orterun.txt; issue open-mpi/ompi#4543
- JAX: xla/pjrt/distributed/client.h, coordination_service_agent.cc; jax-ml/jax#23599
- DeepSpeed: deepspeed/launcher/launch.py; deepspeedai/DeepSpeed#5302
- Ray: ray/exceptions.py; ray-project/ray#18586
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: A process waited for another one until a time was over.
TIMEOUT: Final = "waited in vain"
#: A connection ended because the process at its other end is gone.
PEER: Final = "lost a peer"
#: The process was asked to stop.
STOPPED: Final = "was stopped"
#: A launcher reports which of its processes failed.
LAUNCHER: Final = "reported a failed process"

#: In this order: what a launcher or a watchdog says often quotes the others' words.
_PATTERNS: Final = {
    LAUNCHER: (
        r"ChildFailedError",
        r"Root Cause \(first observed failure\)",
        r"failed \(exitcode: -?\d+\) local_rank",
        r"(?:mpirun|mpiexec|prterun) (?:detected|noticed) that",
        r"Primary job +terminated normally, but",
        r"exits with return code = -?\d+",
        r"sigkill_handler",
        r"\b(?:RayActor|Actor(?:Died|Unavailable|Unschedulable)|WorkerCrashed|NodeDied)Error",
        r"[Tt]he actor (?:died|is dead)",
    ),
    TIMEOUT: (
        r"[Ww]atchdog caught collective operation timeout",
        r"detected by watchdog at work",
        r"[Ww]atchdog thread terminated with exception",
        r"NCCL operations have failed or timed out",
        r"To avoid data inconsistency, we are taking the entire process down",
        r"Timed out waiting \d+ ?ms for (?:recv|send) operation",
        r"Wait timeout after \d+ ?ms",
        r"heartbeat timeout\. This indicates that the remote task has failed",
        r"Barrier (?:timed out|result: DEADLINE_EXCEEDED)",
    ),
    PEER: (
        r"[Cc]onnection reset by peer",
        r"[Cc]onnection (?:was )?closed by (?:remote )?peer",
        r"ConnectionResetError|BrokenPipeError|[Bb]roken pipe",
        r"ncclRemoteError|remote process exited or there was a network error",
        r"Connection was likely closed\. Did the remote server shut ?down or crash",
        r"recvValue(?:WithTimeout)? failed|[Ff]ailed to recv, got 0 bytes|Socket closed",
        r"RendezvousConnectionError|HorovodInternalError",
        r"NCCL communicator was aborted",
        r"JAX distributed service detected fatal errors|Polled an error from coordination service",
    ),
    STOPPED: (
        r"(?:[Rr]eceived|[Gg]ot|[Cc]aught)(?: an?)?(?:(?: signal)?:? \(?SIGTERM| signal:? \(?15\b)",
        r"SIGTERM(?:: 15)? received",
        r"SignalException|closing signal SIGTERM",
    ),
}
#: Finds lines with any of them, in RE2's syntax.
ANY: Final = "|".join(pattern for patterns in _PATTERNS.values() for pattern in patterns)
_RULES: Final = tuple((effect, re.compile("|".join(patterns))) for effect, patterns in _PATTERNS.items())
_TAG: Final = re.compile(r"\A\[(?:rank|default)(\d{1,6})\]:")
_ROOT: Final = re.compile(r"\A\s*rank +: (\d{1,6}) \(local_rank: \d+\)")
_WORK: Final = re.compile(r"SeqNum=(\d+), OpType=(\w+)")
_WAITED: Final = re.compile(r"ran for (\d+) milliseconds")


class Collective(NamedTuple):
    """The operation that timed out while a process waited for the others.

    Parameters
    ----------
    number : int
        How many operations came before it.
    name : str
        `ALLREDUCE`.
    waited_s : float or None
    """

    number: int
    name: str
    waited_s: float | None


def effect(text: str) -> str:
    """Return what an error says about another process; empty if it is an error of the process itself.

    Parameters
    ----------
    text : str
        A line, or type and message of a traceback.

    Returns
    -------
    str
        `TIMEOUT`, `PEER`, `STOPPED`, `LAUNCHER` or nothing.

    Examples
    --------
    >>> effect("RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.4]:2211")
    'lost a peer'
    >>> effect("[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE)")
    'waited in vain'
    >>> effect("RuntimeError: CUDA error: device-side assert triggered")
    ''
    """
    return next((kind for kind, pattern in _RULES if pattern.search(text)), "")


def collective(text: str) -> Collective | None:
    """Return the operation in the report of NCCL's watchdog; None if the line is none.

    Examples
    --------
    >>> collective("caught collective operation timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE, NumelIn=9) ran for 600020 milliseconds")
    Collective(number=808, name='ALLREDUCE', waited_s=600.02)
    """
    if (work := _WORK.search(text)) is None:
        return None
    waited = _WAITED.search(text)
    return Collective(int(work[1]), work[2], int(waited[1]) / 1000 if waited else None)


def named_rank(text: str) -> str:
    """Return the rank that the first lines of an error name: PyTorch's prefix, or torchrun's root cause.

    Examples
    --------
    >>> named_rank("[rank3]: Traceback (most recent call last):"), named_rank("ValueError: x")
    ('3', '')
    """
    match = _TAG.match(text)
    return match[1] if match else ""


def root_rank(lines: list[str]) -> str:
    """Return the rank that torchrun's summary names as the first that failed; empty if there is no such summary.

    Examples
    --------
    >>> root_rank(["Root Cause (first observed failure):", "[0]:", "  rank      : 6 (local_rank: 2)"])
    '6'
    """
    for index, line in enumerate(lines):
        if "Root Cause (first observed failure)" in line:
            return next((match[1] for text in lines[index:] if (match := _ROOT.match(text))), "")
    return ""
