"""`cortex-jupyter doctor`: judges a whole installation, and says what to do about what is not as it should be."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from cortex_jupyter.cli.doctor import archive, identity, jupyter, packages, settings, store
from cortex_jupyter.cli.doctor import cluster as kubernetes
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding, aside, within
from cortex_jupyter.cli.terminal import colourful, safe
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.reader.connection import is_shared
from cortex_jupyter.store import default_url

if TYPE_CHECKING:
    import argparse

_MARKS: Final = {OK: ("✓", 32), WARN: ("!", 33), BAD: ("✗", 31), TOLD: ("·", 2)}
_NO_CLUSTER: Final = "check the address in the kubeconfig and the network"
_NO_STORE: Final = "check that the server of CORTEX_STORE runs, or that the file's disk is not hanging"
_NO_ARCHIVE: Final = "check address, network and endpoint (AWS_ENDPOINT_URL, GOOGLE_BASE_URL, AZURE_STORAGE_ENDPOINT)"
_NO_SERVER: Final = "a Jupyter server hangs: look at its log, start it anew"
_NO_DISK: Final = "the disk with Python's packages is slow: look again"


def run(options: argparse.Namespace) -> int:
    """Look at everything; 0 where nothing is bad."""
    findings = asyncio.run(examine(options.kubeconfig, options.context, options.namespace, options.timeout))
    healthy = all(finding.judged != BAD for finding in findings)
    if options.json:
        print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            _print(finding)
    return int(not healthy)


async def examine(kubeconfig: str | None, context: str | None, namespace: str | None, seconds: float) -> list[Finding]:
    """Give what is found: all parts are looked at at once, none for longer than that.

    Parameters
    ----------
    kubeconfig, context, namespace : str or None
        As everywhere.
    seconds : float
    """
    told = settings.read()
    url = told.store_url or default_url()  # says itself, and well, where no local disk is found
    cluster: Cluster | None = None
    found: list[Finding] = []

    async def opened() -> list[Finding]:
        nonlocal cluster
        named = (kubeconfig or told.kubeconfig or None, context or told.context or None)
        cluster = await Cluster.open(*named, plugin_timeout_s=seconds)
        return []

    # The plugin's own limit comes first, for its error names it; the other is for a disk that hangs.
    found += await within(seconds + 1, kubernetes.PART, opened(), _NO_CLUSTER)
    id_ = cluster.id if cluster else None
    parts = [
        within(seconds, store.PART, aside(lambda: store.judge(url, id_)), _NO_STORE),
        within(seconds, archive.PART, aside(lambda: archive.judge(url, told.archive_url)), _NO_ARCHIVE),
        within(seconds, jupyter.PART, aside(lambda: settings.judge(told)), _NO_DISK),
        within(seconds, jupyter.PART, aside(jupyter.installed), _NO_DISK),
        within(seconds, jupyter.PART, jupyter.running(), _NO_SERVER),
        within(seconds, packages.PART, aside(packages.judge), _NO_DISK),
    ]
    try:
        if cluster is not None:
            host, others = (
                cluster.host,
                any(map(is_shared, (url, told.archive_url or os.environ.get("CORTEX_ARCHIVE", "")))),
            )
            parts.insert(0, within(seconds, kubernetes.PART, aside(lambda: identity.judge(url, host)), _NO_STORE))
            asked = kubernetes.judge(cluster, namespace or cluster.namespace, shared=others, for_users=told.for_users)
            parts.insert(0, within(seconds, kubernetes.PART, asked, _NO_CLUSTER))
        with tqdm(total=len(parts), desc="looking", unit=" parts", leave=False, delay=0.3, disable=None) as bar:
            looking = [asyncio.ensure_future(part) for part in parts]
            for one in looking:
                one.add_done_callback(lambda _: bar.update())
            for findings in await asyncio.gather(*looking):
                found += findings
    finally:
        if cluster is not None:
            await cluster.close()
    return found


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.judged]
    if colourful(sys.stdout):
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    lines = [f"{mark} {finding.part}: {finding.text}"]
    if finding.todo and finding.judged != OK:
        lines.append(f"    {finding.todo}")
    lines += [f"    {line}" for line in finding.details]
    for line in lines:
        print(safe(line) if sys.stdout.isatty() else line)
