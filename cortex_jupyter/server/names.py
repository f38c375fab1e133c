"""Whether the containers and pods that a query names can exist."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cortex_jupyter.errors import ContainerNotFound

if TYPE_CHECKING:
    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.open import Recording

_GLOB = frozenset("*?[,")


async def check_names(recording: Recording, query: LogQuery) -> None:
    """Refuse an exact name that the task does not have; a filter that can match nothing is an error of the reader.

    Pods come and go while a task runs, and so do ephemeral containers, so only what is certain is refused.

    Raises
    ------
    ContainerNotFound
    """
    if not any(name and not _GLOB & set(name) for name in (query.container, query.pod)):
        return
    sources = [s for s, _ in (await asyncio.to_thread(recording.store.sources, recording.id)).values()]
    done = (await recording.info()).done
    declared = _declared(recording)
    if query.container and (declared or done):
        _check("container", query.container, declared | {s.container for s in sources})
    if query.pod and done:
        _check("pod", query.pod, {s.pod for s in sources})


def _check(word: str, name: str, known: set[str]) -> None:
    if not _GLOB & set(name) and name not in known:
        raise ContainerNotFound(
            f"the task has no {word} {name[:253]!r}", f"it has {', '.join(sorted(known)[:20]) or 'none'}"
        )


def _declared(recording: Recording) -> set[str]:
    """Give the names of the containers that the workload declares; empty where it does not say."""
    spec = recording.workload.obj.get("spec", {}) if recording.workload else {}
    pod = spec.get("template", {}).get("spec") or spec
    return {c["name"] for key in ("initContainers", "containers") for c in pod.get(key) or []}
