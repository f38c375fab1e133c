"""`cortex-jupyter doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cli.terminal import colourful, safe
from cortex_jupyter.cluster.access import may
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import CortexError, NotFound, StoreFull
from cortex_jupyter.recording.process.launch import log_path
from cortex_jupyter.recording.store import default_url
from cortex_jupyter.recording.stores import open_store
from cortex_jupyter.recording.text.parser import masking
from cortex_jupyter.recording.writing.patience import STOPPED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cortex_jupyter.recording.store import Store

GOOD: Final = "✓"
BAD: Final = "✗"
TOLD: Final = "·"
_COLOURS: Final = {GOOD: 32, BAD: 31, TOLD: 2}


@dataclass(frozen=True, slots=True)
class Right:
    """Something that one must be allowed to do.

    Parameters
    ----------
    group, resource, sub : str
        As RBAC names it.
    verbs : tuple of str
    lost : str
        What is so without it.
    inside : bool
        In a namespace. What is asked of the whole cluster is not needed.
    """

    group: str
    resource: str
    sub: str
    verbs: tuple[str, ...]
    lost: str
    inside: bool = True


_RIGHTS: Final = (
    Right("", "pods", "", ("get", "list", "watch"), "no log can be read"),
    Right("", "pods", "log", ("get",), "no log can be read"),
    Right("batch", "jobs", "", ("get", "list", "watch"), "Jobs are not found by their names"),
    Right("", "nodes", "proxy", ("get",), "lines that the node has rotated away are not fetched", inside=False),
)
_LOG_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    mark : str
        `GOOD`, `BAD`, or `TOLD` for what is neither.
    text : str
    todo : str
        What to do about it.
    needed : bool
        Whether the exit code depends on it.
    """

    mark: str
    text: str
    todo: str = ""
    needed: bool = True


def run(options: argparse.Namespace) -> int:
    """Look at everything; 0 where logs can be read and recorded."""
    findings = [*asyncio.run(_cluster(options)), *_extension()]
    for finding in findings:
        _print(finding)
    return int(any(f.mark == BAD and f.needed for f in findings))


def _print(finding: Finding) -> None:
    mark = finding.mark
    if colourful(sys.stdout):
        mark = f"\x1b[{_COLOURS[mark]}m{mark}\x1b[0m"
    print(f"{mark} {safe(finding.text) if sys.stdout.isatty() else finding.text}")
    if finding.todo and finding.mark != GOOD:
        print(f"    {finding.todo}")


async def _cluster(options: argparse.Namespace) -> list[Finding]:
    try:
        cluster = await Cluster.open(options.kubeconfig, options.context)
    except CortexError as error:
        return [Finding(BAD, f"cluster: {error.message}", error.hint), *_store(None)]
    async with cluster:
        namespace = options.namespace or cluster.namespace
        try:
            version = (await cluster.json("/version"))["gitVersion"]
        except CortexError as error:
            return [Finding(BAD, f"cluster: {cluster.host}: {error.message}", error.hint), *_store(cluster.id)]
        who = await _who(cluster)
        found = [Finding(GOOD, f"cluster: {cluster.host}, Kubernetes {version}{who}")]
        found += await asyncio.gather(*(_right(cluster, namespace, right) for right in _RIGHTS))
        return [*found, *_store(cluster.id)]


async def _who(cluster: Cluster) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await cluster.json("/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST", body=body)
        return f", as {answer['status']['userInfo']['username']}"
    except (CortexError, KeyError):
        return ""  # Kubernetes before 1.28 does not tell


async def _right(cluster: Cluster, namespace: str, right: Right) -> Finding:
    name = f"{right.resource}/{right.sub}" if right.sub else right.resource
    where = f" in namespace {namespace}" if right.inside else ""
    asked = {"group": right.group, "resource": right.resource, "subresource": right.sub}
    asked["namespace"] = namespace if right.inside else ""
    try:
        missing = [verb for verb in right.verbs if not await may(cluster, asked | {"verb": verb})]
    except NotFound:
        return Finding(TOLD, f"{name}{where}: the cluster does not tell what you may do")
    except CortexError as error:
        return Finding(BAD, f"{name}{where}: {error.message}", error.hint, needed=right.inside)
    if missing:
        todo = f"ask for `{' '.join(missing)}` on `{name}`: without it {right.lost}"
        return Finding(BAD, f"you may not {', '.join(missing)} {name}{where}", todo, needed=right.inside)
    return Finding(GOOD, f"you may {', '.join(right.verbs)} {name}{where}")


def _store(cluster: str | None) -> Iterator[Finding]:
    url = default_url()
    try:
        store = open_store(url)
    except CortexError as error:
        yield Finding(BAD, f"store: {error.message}", error.hint)
        return
    try:
        yield from _opened(store, cluster)
    except CortexError as error:
        yield Finding(BAD, f"store: {error.message}", error.hint)
    finally:
        store.close()


def _opened(store: Store, cluster: str | None) -> Iterator[Finding]:
    held = store.recordings()
    yield Finding(GOOD, f"store: {store.url}, {len(held)} recordings, {store.size() / 1e6:.1f} MB")
    for doubt, todo in store.doubts():
        yield Finding(BAD, f"store: {doubt}", todo, needed=False)
    budget, oldest = store.budget(), store.oldest()
    days = f"{(budget.max_age_s or 0) / 86400:g} days"
    kept = f"kept: up to {(budget.max_bytes or 0) / 1e6:.0f} MB, for {days} after a task's end"
    if budget.max_task_bytes is not None:
        kept += f", of a running task {budget.max_task_bytes / 1e6:.0f} MB"
    if oldest is not None:
        kept += f"; the next to leave ended {(time.time() - oldest[1]) / 86400:.1f} days ago"
    yield Finding(TOLD, kept)
    if masking(store):
        yield Finding(GOOD, "secrets are masked before lines are stored")
    else:
        yield Finding(TOLD, "lines are stored as they were written; CORTEX_MASK=1 masks their secrets before")
    for info in held:
        if info.message == STOPPED:
            yield Finding(BAD, f"{info.ref.key}: {info.message}", StoreFull.default_hint)
    recorder = store.recorder(cluster) if cluster else None
    if recorder is not None:
        yield Finding(GOOD, f"recorder: process {recorder.pid} on {recorder.host}")
    else:
        yield Finding(TOLD, "recorder: none runs now; the first reader of a task starts one")
    path = log_path(store.url)
    if path.is_file() and (said := path.read_text(errors="replace").splitlines()[-_LOG_LINES:]):
        yield Finding(TOLD, f"recorder's log, {path}:", "\n    ".join(said))


def _extension() -> Iterator[Finding]:
    from jupyter_core.paths import jupyter_config_path  # noqa: PLC0415
    from jupyter_server.extension.config import ExtensionConfigManager  # noqa: PLC0415

    manager: Any = ExtensionConfigManager(read_config_path=jupyter_config_path())
    if manager.get_jpserver_extensions().get("cortex_jupyter"):
        yield Finding(GOOD, "Jupyter Server extension: enabled")
    else:
        yield Finding(
            BAD,
            "Jupyter Server extension: not enabled in this environment",
            "jupyter server extension enable cortex_jupyter",
            needed=False,
        )
