"""`cortex-jupyter doctor`: check a whole installation, and say what to do about each problem."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from cortex_jupyter.cli.doctor import archive, collectors, identity, jupyter, packages, settings, store
from cortex_jupyter.cli.doctor import cluster as kubernetes
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding, aside, within
from cortex_jupyter.cli.terminal import safe, wants_colour
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.reader.connection import is_shared
from cortex_jupyter.store import default_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_MARKS: Final = {OK: ("✓", 32), WARN: ("!", 33), BAD: ("✗", 31), TOLD: ("·", 2)}
_NO_CLUSTER: Final = "check the address in the kubeconfig and the network"
_NO_STORE: Final = "check that the server of CORTEX_STORE runs, or that the file's disk is not hanging"
_NO_ARCHIVE: Final = "check address, network and endpoint (AWS_ENDPOINT_URL, GOOGLE_BASE_URL, AZURE_STORAGE_ENDPOINT)"
_NO_SERVER: Final = "a Jupyter server hangs: look at its log and restart it"
_NO_DISK: Final = "the disk with Python's packages is slow: run the doctor again"


def run(options: argparse.Namespace) -> int:
    """Check everything and print the findings. Return 1 if something is bad, else 0."""
    findings = asyncio.run(examine(options.kubeconfig, options.context, options.namespace, options.timeout))
    healthy = all(finding.judged != BAD for finding in findings)
    if options.json:
        print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            _print(finding)
    return int(not healthy)


async def examine(
    kubeconfig: str | None, context: str | None, namespaces: Sequence[str], seconds: float
) -> list[Finding]:
    """Check all parts at the same time and return the findings.

    Parameters
    ----------
    kubeconfig, context : str or None
    namespaces : sequence of str
        If it is empty, those of the collector in this pod are checked, else the kubeconfig's.
    seconds : float
        Timeout of each check.
    """
    configured = settings.read()
    url = configured.store_url or default_url()  # raises a clear error if there is no local disk
    cluster: Cluster | None = None
    findings: list[Finding] = []

    async def opened() -> list[Finding]:
        nonlocal cluster
        names = (kubeconfig or configured.kubeconfig or None, context or configured.context or None)
        cluster = await Cluster.open(*names, plugin_timeout_s=seconds)
        return []

    # The credential plugin's timeout is shorter, because its error names the plugin. The outer one is for a disk that hangs.
    findings += await within(seconds + 1, kubernetes.PART, opened(), _NO_CLUSTER)
    id_ = cluster.id if cluster else None
    parts = [
        within(seconds, store.PART, aside(lambda: store.judge(url, id_, configured.budget())), _NO_STORE),
        within(seconds, archive.PART, aside(lambda: archive.judge(url, configured.archive_url)), _NO_ARCHIVE),
        within(seconds, settings.KINDS, aside(settings.judge_kinds), _NO_DISK),
        within(seconds, jupyter.PART, aside(lambda: settings.judge(configured)), _NO_DISK),
        within(seconds, jupyter.PART, aside(jupyter.installed), _NO_DISK),
        within(seconds, jupyter.PART, jupyter.running(), _NO_SERVER),
        within(seconds, packages.PART, aside(packages.judge), _NO_DISK),
    ]
    try:
        if cluster is not None:
            host = cluster.host
            has_others = any(map(is_shared, (url, configured.archive_url or os.environ.get("CORTEX_ARCHIVE", ""))))
            parts.insert(0, within(seconds, kubernetes.PART, aside(lambda: identity.judge(url, host)), _NO_STORE))
            recorded = collectors.records_here()
            if recorded is not None and not namespaces:
                findings.append(collectors.scope_finding(recorded))
            names = namespaces or recorded or (cluster.namespace,)
            check = kubernetes.judge(
                cluster,
                ("",) if recorded == () and not namespaces else names,
                shared=has_others,
                for_users=configured.for_users,
                for_collector=recorded is not None,
            )
            parts.insert(0, within(seconds, kubernetes.PART, check, _NO_CLUSTER))
            tasks = collectors.judge(cluster, url, names)
            parts.append(within(seconds + 2, collectors.PART, tasks, _NO_STORE))
        with tqdm(total=len(parts), desc="checking", unit=" parts", leave=False, delay=0.3, disable=None) as bar:
            checks = [asyncio.ensure_future(part) for part in parts]
            for running in checks:
                running.add_done_callback(lambda _: bar.update())
            for part_findings in await asyncio.gather(*checks):
                findings += part_findings
    finally:
        if cluster is not None:
            await cluster.close()
    return findings


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.judged]
    if wants_colour(sys.stdout):
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    lines = [f"{mark} {finding.part}: {finding.text}"]
    if finding.todo and finding.judged != OK:
        lines.append(f"    {finding.todo}")
    lines += [f"    {line}" for line in finding.details]
    for line in lines:
        print(safe(line) if sys.stdout.isatty() else line)
