"""What libraries print when another process has failed; the sources are named in `parsing.failures`."""

from __future__ import annotations

import pytest

from cortex_jupyter.parsing.failures import LAUNCHER, PEER, STOPPED, TIMEOUT, effect, named_rank, root_rank

EFFECTS = {
    TIMEOUT: [
        # ProcessGroupNCCL.cpp
        (
            "[rank1]:[E626 06:24:44.903 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: "
            "WorkNCCL(SeqNum=808, OpType=ALLREDUCE, NumelIn=9, NumelOut=9, Timeout(ms)=600000) ran for 600020 milliseconds "
            "before timing out."
        ),
        "[PG ID 0 PG GUID 0(default_pg) Rank 1] Exception (either an error or timeout) detected by watchdog at work: 808",
        "Some NCCL operations have failed or timed out. Due to the asynchronous nature of CUDA kernels, ...",
        "[Rank 3] To avoid data inconsistency, we are taking the entire process down.",
        "RuntimeError: [../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation to complete",
        "UNAVAILABLE: Task /job:jax_worker/replica:0/task:0 heartbeat timeout. This indicates that the remote task has failed,",
    ],
    PEER: [
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:268, remote process exited or there was a network error",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        "node0:183006:183181 [1] misc/socket.cc:538 NCCL WARN Net : Connection closed by remote peer node1<47861>",
        "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.4]:22113",
        "RuntimeError: Connection reset by peer",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "BrokenPipeError: [Errno 32] Broken pipe",
        (
            "[W514 TCPStore.cpp:138] [c10d] recvValueWithTimeout failed on SocketImpl(fd=3): Failed to recv, got 0 bytes. "
            "Connection was likely closed. Did the remote server shutdown or crash?"
        ),
        "F0926 17:26:32.0 157988 client.h:77] Terminating process because the JAX distributed service detected fatal errors.",
        "horovod.common.exceptions.HorovodInternalError: ncclCommInitRank failed",
    ],
    STOPPED: [
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 7 got signal: 15",
        "W0801 13:23:17.366 32974 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 33051 closing signal SIGTERM",
        "[rank: 1] Received SIGTERM: 15",
        "received signal SIGTERM, exiting",
    ],
    LAUNCHER: [
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "E0325 20:57:27.620 2606 api.py:869] failed (exitcode: -9) local_rank: 5 (pid: 2630) of binary: /usr/bin/python",
        "Primary job  terminated normally, but 1 process returned",
        "mpirun noticed that process rank 7 with PID 0 on node n1 exited on signal 9 (Killed).",
        "prterun detected that one or more processes exited with non-zero status, thus causing",
        "[2024-03-20 20:31:29,210] [INFO] [launch.py:315:sigkill_handler] Killing subprocess 3353707",
        "[launch.py:321:sigkill_handler] ['python', '-u', 'train.py', '--local_rank=4'] exits with return code = 1",
        "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
    ],
    "": [
        "RuntimeError: CUDA error: device-side assert triggered",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "ValueError: bad shape (3, 4)",
        "ERROR loss is nan at step 96",
        "TimeoutError: the object store did not answer within 15 s",
        "RuntimeError: DataLoader worker (pid 15) is killed by signal: Killed.",
        "the signal 15 dB above noise was received",
        "received 15 batches of 32",
        "ActorCriticError: the policy is nan",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in EFFECTS.items() for text in texts])
def test_an_effect_of_another_failure_is_known(kind: str, text: str) -> None:
    assert effect(text) == kind


def test_torchrun_names_the_process_that_failed_first() -> None:
    summary = """ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2025-05-21_15:43:04
  host      : node-2
  rank      : 11 (local_rank: 3)
  exitcode  : 1 (pid: 14753)
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2025-05-21_15:43:03
  host      : node-2
  rank      : 10 (local_rank: 2)
  exitcode  : -11 (pid: 14750)
  traceback : Signal 11 (SIGSEGV) received by PID 14750
============================================================"""
    assert root_rank(summary.splitlines()) == "10"
    assert named_rank("[rank12]: ValueError: x") == "12" and named_rank("[12] x") == ""
