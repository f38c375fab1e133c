"""Check that the containers, pods and runs that a query names can exist."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cortex_jupyter.errors import ContainerNotFound

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording

_GLOB = frozenset("*?[")


async def check_names(recording: Recording, query: LogQuery) -> None:
    """Refuse an exact name that the task does not have: a filter that can match nothing is a mistake.

    Pods and ephemeral containers come and go while a task runs, so a name is refused only if it cannot appear any more.

    Raises
    ------
    ContainerNotFound
    """
    containers, pods = _exact(query.container), _exact(query.pod)
    if not (containers or pods or query.run):
        return
    sources = [s for s, _ in (await asyncio.to_thread(recording.store.sources, recording.id)).values()]
    done = (await recording.info()).done
    declared = _declared(recording)
    if declared or done:
        _check("container", containers, declared | {s.container for s in sources})
    if done:
        _check("pod", pods, {s.pod for s in sources})
        _check_run(query, {(s.pod, s.container, s.run) for s in sources})


def _exact(names: str | None) -> list[str]:
    """Return the names in a comma-separated list that are not globs."""
    return [name.strip() for name in (names or "").split(",") if name.strip() and not _GLOB & set(name)]


def _check(word: str, names: list[str], existing: set[str]) -> None:
    for name in names:
        if name not in existing:
            has = ", ".join(sorted(existing)[:20]) or "none"
            raise ContainerNotFound(f"the task has no {word} {name[:253]!r}", f"it has {has}")


def _check_run(query: LogQuery, existing: set[tuple[str, str, int]]) -> None:
    if query.run is None or any(query.run.among(existing).wants(*source) for source in existing):
        return
    last = max((run for *_, run in existing), default=0)
    has = (
        f"its containers have the runs 0 to {last}"
        if last
        else "none of its containers was restarted: each has the run 0"
    )
    raise ContainerNotFound(f"the task has no run {str(query.raw['run'])[:60]!r}", has)


def _declared(recording: Recording) -> set[str]:
    """Return the names of the containers that the workload declares; empty if it declares none."""
    spec = recording.workload.obj.get("spec", {}) if recording.workload else {}
    pod = spec.get("template", {}).get("spec") or spec
    return {c["name"] for key in ("initContainers", "containers") for c in pod.get(key) or []}
