"""Over a bad network every line arrives once: each fault alone, on the sandbox and on a real cluster.

A "clean end" is an answer that ends without an error although lines are missing, as behind some load balancers.
`tests/torture/network.py` injects all faults together for ten minutes; the last test here does so for seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.case import Row, running_case
from faults.received import check_received
from support.network import Network
from torture.network import Soak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conftest import SandboxProcess, Target
    from faults.case import Case
    from support.kube import Kube


#: Writes lines until the last fault was injected.
PROGRAM = """
import os, time
i = 0
while not os.path.exists('FAULTS_DONE'):
    print('\\n'.join('line %08d ' % n + 'x' * 60 for n in range(i, i + 30)), flush=True)
    i += 30
    time.sleep(0.02)
"""


#: The first run waits for the fault, writes, and fails; the next run writes at once and then waits for its end.
FAILS_ONCE = """
import os, sys, time
first = not os.path.exists('FAULTS_DONE')
print('ready', flush=True)
while not os.path.exists('FAULTS_DONE'): time.sleep(0.02)
for i in range(300): print('line %08d ' % i + 'x' * 60, flush=True)
if first: sys.exit(3)
while not os.path.exists('FAULTS_DONE.last'): time.sleep(0.02)
"""


@dataclass
class ClusterBehindNetwork:
    """A cluster behind a bad network, with the interface that `faults.case` needs.

    `root` is the node's root file system, where the test reads the lines that containers wrote.
    """

    network: Network
    kube: Kube
    root: Path

    @property
    def kubeconfig(self) -> Path:
        return self.network.kubeconfig

    def clear(self) -> None:
        """Do nothing: the faults end with the network."""


@pytest.fixture
def node_root(target: Target, request: pytest.FixtureRequest) -> Path:
    """Return the node's root folder, which holds the log files."""
    if not target.real:
        sandbox: SandboxProcess = request.getfixturevalue("sandbox_process")
        return sandbox.root
    if not Path("/var/log/pods").is_dir():
        pytest.skip("the node's files are not on this machine")
    return Path("/")


@pytest.fixture
def behind_network(target: Target, node_root: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that puts a bad network before the cluster: `async with behind(name, balanced=True) as ...`."""

    @asynccontextmanager
    async def make(name: str, *, balanced: bool) -> AsyncIterator[tuple[Case, Network]]:
        with Network(target.kube.kubeconfig, tmp_path, balanced=balanced) as network:
            async with running_case(ClusterBehindNetwork(network, target.kube, node_root), name, tmp_path) as case:
                yield case, network

    return make


async def slow(case: Case, network: Network) -> None:
    network.round_trip_s, network.bytes_per_s = 0.2, 1e6
    await case.wait_lines(4000)


async def silence(case: Case, network: Network) -> None:
    await case.wait_lines(1500)
    case.mark_fault()
    await case.until(network.silence, "a connection")


async def resets(case: Case, network: Network) -> None:
    for _ in range(4):
        await case.wait_lines(800)
        case.mark_fault()
        await case.until(network.reset, "a connection")


async def clean_ends(case: Case, network: Network) -> None:
    for _ in range(4):
        await case.wait_lines(800)
        case.mark_fault()
        await case.until(lambda: network.end_answers("log\\?"), "a log stream")
        network.end_answers()


@pytest.mark.parametrize("fault", [slow, silence, resets, clean_ends])
async def test_every_line_arrives_once(
    fault: Callable[[Case, Network], Awaitable[None]],
    behind_network: Callable[..., Any],
    unique: Callable[[str], str],
) -> None:
    # A clean end needs a proxy that speaks HTTP.
    async with behind_network(unique("net"), balanced=fault is clean_ends) as (case, network):
        case.create(Row("", fault, program=PROGRAM))  # type: ignore[arg-type]
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            await fault(case, network)
            case.faults_done.touch()
        assert check_received(case.node_logs.lines(), case.received) == 0
        assert not case.received.gaps


async def test_silent_watches_do_not_hide_the_end(
    behind_network: Callable[..., Any], unique: Callable[[str], str]
) -> None:
    """The watches get neither bytes nor an end, as when a laptop slept or a router dropped its connections."""
    async with behind_network(unique("net"), balanced=True) as (case, network):
        case.create(Row("", slow, program=PROGRAM))  # type: ignore[arg-type]
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            await case.wait_lines(500)
            assert network.silence("watch=1") >= 2
            case.faults_done.touch()
        assert check_received(case.node_logs.lines(), case.received) == 0


async def test_an_unanswered_follow_is_requested_again(
    behind_network: Callable[..., Any], unique: Callable[[str], str]
) -> None:
    async with behind_network(unique("net"), balanced=True) as (case, network):
        network.mute("follow=true")
        case.create(Row("", slow, program=PROGRAM, job={"parallelism": 1}))  # type: ignore[arg-type]
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            await case.until(lambda: network.request_count("follow=true"), "a follow")
            await case.until(
                lambda: any("did not answer within 20 s" in n.get("message", "") for n in case.received.notices),
                "the notice that no line comes",
            )
            network.mute("")
            await case.wait_lines(500)
            case.faults_done.touch()
        assert check_received(case.node_logs.lines(), case.received) == 0
        assert network.request_count("follow=true") > 1


async def test_lines_between_a_clean_end_and_the_deletion_of_the_pod_are_a_gap(
    behind_network: Callable[..., Any], unique: Callable[[str], str]
) -> None:
    """A load balancer ends the follow; before the node can be read again, the pod writes more and is deleted."""
    async with behind_network(unique("net"), balanced=True) as (case, network):
        case.create(Row("", slow, program=PROGRAM, job={"parallelism": 1, "backoff": 5}))  # type: ignore[arg-type]
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            await case.wait_lines(500)
            (pod,) = {name for name, _, _ in case.node_logs.lines()}
            network.mute("/log\\?")
            await case.until(lambda: network.end_answers("log\\?"), "a log stream")
            written = case.node_logs.count_records()
            await case.until(lambda: case.node_logs.count_records() > written + 300, "more lines")
            await asyncio.to_thread(case.sandbox.kube.delete, "pods", pod)
            await case.until(lambda: len({name for name, _, _ in case.node_logs.lines()}) > 1, "lines of the next pod")
            network.mute("")
            case.faults_done.touch()
        assert check_received(case.node_logs.lines(), case.received) > 0
        assert {gap["source"]["pod"] for gap in case.received.gaps} == {pod}


async def test_runs_in_quick_succession_keep_their_numbers(
    behind_network: Callable[..., Any], unique: Callable[[str], str]
) -> None:
    """The kubelet already serves the next run before the API server knows of it."""
    async with behind_network(unique("net"), balanced=False) as (case, network):
        row = Row("", slow, program=FAILS_ONCE, job={"parallelism": 4, "backoff": 6}, restart="OnFailure")  # type: ignore[arg-type]
        case.create(row)
        network.round_trip_s = 0.1
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            # Each log is being read: a kubelet may remove a run that failed at once before anybody has read it.
            await case.wait_lines(4)
            case.faults_done.touch()
            await case.until(
                lambda: len([run for _, _, run in case.node_logs.lines() if run == 1]) == 4, "the next runs"
            )
            case.faults_done.with_name(f"{case.faults_done.name}.last").touch()
        written = case.node_logs.lines()
        assert sorted(run for _, _, run in written) == [0] * 4 + [1] * 4
        assert check_received(written, case.received) == 0
        assert not case.received.gaps


@pytest.mark.timeout(200)
async def test_a_pod_that_no_watch_saw_is_a_gap(
    behind_network: Callable[..., Any], unique: Callable[[str], str]
) -> None:
    """While watches of pods are silent, a pod is deleted, its successor writes and is deleted, and a third follows."""
    async with behind_network(unique("net"), balanced=True) as (case, network):
        case.create(Row("", slow, program=PROGRAM, job={"parallelism": 1, "backoff": 5}))  # type: ignore[arg-type]
        kube = case.sandbox.kube

        async def delete_next(deleted: list[str]) -> None:
            def pods() -> list[str]:
                return [name for name, _, _ in case.node_logs.lines() if name not in deleted]

            await case.until(pods, "lines of the next pod")
            deleted.extend(pods())
            await asyncio.to_thread(kube.delete, "pods", deleted[-1])

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(case.read())
            await case.wait_lines(500)
            network.mute("/pods\\?.*watch=1")
            network.silence("/pods\\?.*watch=1")
            deleted: list[str] = []
            await delete_next(deleted)
            await delete_next(deleted)
            await case.until(lambda: len({name for name, _, _ in case.node_logs.lines()}) > 2, "lines of the third pod")
            network.mute("")
            case.faults_done.touch()
        assert check_received(case.node_logs.lines(), case.received) > 0
        assert {g["source"]["pod"] for g in case.received.gaps} >= {deleted[1]}
        assert any("came and went" in g["reason"] for g in case.received.gaps)


@pytest.mark.timeout(300)
async def test_everything_at_once(
    target: Target, node_root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Run the soak test of `make torture` for seconds: four Jobs, three readers of each, all faults."""

    def rotate(pods: str) -> None:
        request.getfixturevalue("sandbox").fault("rotate", pod=pods)

    soak = Soak(target.kube, node_root, tmp_path, 1, (25, 10, 6, 3), 2000, None if target.real else rotate)
    await soak.run(12, 90)
    assert not soak.errors, "\n".join(soak.errors)
    assert sum(soak.injected[fault] for fault in ("silent connection", "reset inside a chunk", "clean end")) > 0
