"""Check that the containers, pods, roles, ranks, runs and attempts that a query names can exist."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cortex_jupyter.errors import ContainerNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cortex_jupyter.model import Source
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording

_GLOB = frozenset("*?[")
#: The number of names that a hint lists.
_SHOWN = 20


async def check_names(recording: Recording, query: LogQuery) -> None:
    """Refuse an exact name that the task does not have: a filter that can match nothing is a mistake.

    Pods and ephemeral containers come and go while a task runs, so a name is refused only if it cannot appear any more.

    Raises
    ------
    ContainerNotFound
    """
    if not any((query.container, query.pod, query.role, query.rank, query.run, query.attempt)):
        return
    sources = [s for s, _ in (await asyncio.to_thread(recording.store.sources, recording.id)).values()]
    done = (await recording.info()).done
    declared = _declared(recording)
    if done:
        check_sources(sources, query, declared)
    elif declared:
        _check("container", _exact(query.container), declared | {s.container for s in sources})


def check_sources(sources: Sequence[Source], query: LogQuery, declared: Collection[str] = ()) -> None:
    """Refuse a name, rank, run or attempt that none of these sources has, except for containers that are declared.

    Raises
    ------
    ContainerNotFound
    """
    _check("pod", _exact(query.pod), {s.pod for s in sources})
    _check("container", _exact(query.container), {s.container for s in sources} | {*declared})
    _check("role", _exact(query.role), {s.role for s in sources} - {""})
    _check_run(query, {(s.pod, s.container, s.run) for s in sources})
    _check_numbers(query, sources)


def _exact(names: str | None) -> list[str]:
    """Return the names in a comma-separated list that are not globs."""
    return [name.strip() for name in (names or "").split(",") if name.strip() and not _GLOB & set(name)]


def _check(word: str, names: list[str], existing: set[str]) -> None:
    for name in names:
        if name not in existing:
            has = ", ".join(sorted(existing)[:_SHOWN]) or "none"
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


def _check_numbers(query: LogQuery, sources: Sequence[Source]) -> None:
    """Refuse ranks and attempts that no source has."""
    rank, attempt = query.rank, query.attempt
    if rank is not None and not any(rank.wants(s.rank) for s in sources):
        has = _listed({s.rank for s in sources} - {""})
        raise ContainerNotFound(f"the task has no rank {str(query.raw['rank'])[:60]!r}", f"its ranks are {has}")
    if attempt is None:
        return
    existing = {(s.role, s.rank, s.attempt) for s in sources}
    if not any(attempt.among(existing).wants(*member) for member in existing):
        has = _listed({s.attempt or "0" for s in sources})
        raise ContainerNotFound(
            f"the task has no attempt {str(query.raw['attempt'])[:60]!r}", f"its attempts are {has}"
        )


def _listed(numbers: set[str]) -> str:
    """Return numbers such as `3` and `2-0` in their order; the first ones if they are many."""
    ordered = sorted(numbers, key=lambda text: [int(part) for part in text.split("-")])
    return ", ".join(ordered[:_SHOWN]) + (" ..." if len(ordered) > _SHOWN else "") or "none"


def _declared(recording: Recording) -> set[str]:
    """Return the names of the containers that the workload declares; empty if it declares none."""
    spec = recording.workload.obj.get("spec", {}) if recording.workload else {}
    pod = spec.get("template", {}).get("spec") or spec
    return {c["name"] for key in ("initContainers", "containers") for c in pod.get(key) or []}
