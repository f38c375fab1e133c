"""Check the collectors of a shared store: whether as many run as are wanted, and whether what runs is recorded.

In the pod of a collector, `records_here` says which namespaces it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cli.doctor.cluster import in_namespaces
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding
from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.tasks import list_tasks
from cortex_jupyter.cluster.workloads import uid_of_task
from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store import is_shared, other_name
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import RecorderInfo, Store

PART: Final = "collectors"
#: At most this many namespaces are looked at; besides the given ones, those with unfinished recordings that nobody leases.
_NAMESPACES: Final = 20
#: A collector takes a new task within this time (seconds).
_TAKEN_S = 2.0
_NAMED: Final = 3
#: The command of a container's main process. `kubectl exec` starts the doctor beside it.
_MAIN_PROCESS = Path("/proc/1/cmdline")
#: How a collector is started.
_COMMANDS: Final = (("cortex-jupyter", "record"), ("-m", "cortex_jupyter.recorder"))


def records_here() -> tuple[str, ...] | None:
    """Return the namespaces of the collector in this container, by its options; () for all, None without a collector.

    Its store may be away, so the options are read and not what the store knows about it.
    """
    try:
        words = _MAIN_PROCESS.read_bytes().decode(errors="replace").removesuffix("\0").split("\0")
    except OSError:  # not Linux, or hidden
        return None
    for at, pair in enumerate(itertools.pairwise(words)):
        if (Path(pair[0]).name, pair[1]) in _COMMANDS:
            from cortex_jupyter.recorder.__main__ import parser  # slow

            options, _ = parser().parse_known_args(words[at + 2 :])
            return tuple(options.namespace) if options.all else None
    return None


def scope_finding(namespaces: Sequence[str]) -> Finding:
    """Return a finding that names what the collector in this pod records.

    Examples
    --------
    >>> scope_finding(["ml", "vision"]).text
    'the collector in this pod records tasks in the namespaces ml, vision'
    """
    return Finding(PART, TOLD, f"the collector in this pod records tasks {in_namespaces(namespaces or [''])}")


async def judge(cluster: Cluster, url: str, namespaces: Sequence[str]) -> list[Finding]:
    """Check the collectors of a store for a cluster; nothing if the store is not shared.

    Raises
    ------
    StoreError
    """
    if not is_shared(url):
        return []
    store = await asyncio.to_thread(open_store, url)
    try:
        recorders = await asyncio.to_thread(store.recorders, cluster.id)
        collectors = [recorder for recorder in recorders if recorder.selection]
        findings = _number(len(collectors), int(await asyncio.to_thread(store.setting, "collectors") or 0))
        unrecorded, running = await _unrecorded(cluster, store, namespaces)
        if unrecorded:  # perhaps begun just now
            await asyncio.sleep(_TAKEN_S)
            unrecorded, running = await _unrecorded(cluster, store, namespaces)
        elsewhere = "" if recorders else await asyncio.to_thread(other_name, store, cluster.id)
        if elsewhere:
            findings.append(Finding(PART, WARN, "no collector is alive for this cluster", elsewhere))
        return [*findings, *_unleased(unrecorded, running, collectors, elsewhere)]
    finally:
        await asyncio.to_thread(store.close)


def _number(alive: int, wanted: int) -> list[Finding]:
    if alive < wanted:
        todo = "look at the collector's pods and their logs; `cortex-jupyter store set collectors=N` sets how many are wanted"
        return [Finding(PART, WARN, f"{alive} of {wanted} collectors are alive", todo)]
    return [Finding(PART, OK if alive else TOLD, f"collectors that are alive: {alive}")]


async def _unrecorded(cluster: Cluster, store: Store, namespaces: Sequence[str]) -> tuple[list[TaskRef], int]:
    """Return the running tasks that nobody leases, and the number of running tasks."""
    unfinished = {info.ref: info for info in await asyncio.to_thread(store.unfinished, cluster.id)}
    holders = await asyncio.to_thread(store.holders, [info.id for info in unfinished.values()])
    free = {ref.namespace for ref, info in unfinished.items() if not holders.get(info.id)}
    unrecorded: list[TaskRef] = []
    number = 0
    for name in [*namespaces, *sorted(free - {*namespaces})][:_NAMESPACES]:
        with contextlib.suppress(CortexError):  # other checks say what may not be read
            for row in await list_tasks(cluster, name):
                ref = TaskRef.parse(row["task"])
                if row["state"] != "running" or not kinds.ends_by_itself(ref.kind):
                    continue
                number += 1
                info = unfinished.get(ref) or await asyncio.to_thread(store.find, ref, cluster.id)
                is_done = info is not None and info.done and uid_of_task(info.uid) == row["uid"]
                if not is_done and not (info and holders.get(info.id)):
                    unrecorded.append(ref)
    return unrecorded, number


def _unleased(unrecorded: list[TaskRef], running: int, collectors: list[RecorderInfo], elsewhere: str) -> list[Finding]:
    """Judge the running tasks that nobody leases. A collector with a selection may leave them out on purpose.

    `elsewhere` says which collectors are alive for another name of a cluster, if none is for this one.
    """
    findings = []
    for namespace in sorted({ref.namespace for ref in unrecorded}):
        refs = [ref for ref in unrecorded if ref.namespace == namespace]
        names = ", ".join(ref.key for ref in refs[:_NAMED]) + (" and others" if len(refs) > _NAMED else "")
        text = f"{len(refs)} tasks run in namespace {namespace}, and nobody records them: {names}"
        in_charge = [each for each in collectors if not each.namespaces or namespace in each.namespaces]
        if not collectors:
            start = "no collector is alive: look at its pods and their logs, or start one: cortex-jupyter record --all"
            todo = elsewhere or start
            findings.append(Finding(PART, BAD, text, todo))
        elif not in_charge:
            todo = f"no collector is for this namespace: add `-n {namespace}` to its options, unless that is on purpose"
            findings.append(Finding(PART, WARN, text, todo))
        elif any(_selector(each) == "" for each in in_charge):
            todo = "see the log of its collector and its /readyz: a right may be missing, or it may be too slow"
            findings.append(Finding(PART, BAD, text, todo))
        else:
            selectors = ", ".join(sorted({_selector(each) for each in in_charge}))
            findings.append(Finding(PART, TOLD, f"{text}; its collectors select by {selectors}"))
    if running and not unrecorded:
        findings.append(Finding(PART, OK, f"running tasks that are recorded: {running} of {running}"))
    return findings


def _selector(collector: RecorderInfo) -> str:
    """Return the label selector of a collector, which is the second part of its selection's name."""
    return collector.selection.partition(" ")[2]
