"""A custom resource in the viewer: one log of all its pods, from the reason why there is none to its end."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, cell, says, shot
from support.kube import python_job
from support.operators import Custom, create_pod, define

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from conftest import SandboxProcess

pytestmark = pytest.mark.browser
WORKERS = 16


def test_a_ray_job_with_sixteen_workers(
    lab: Lab, sandbox: SandboxProcess, unique: Callable[[str], str], gate: Path
) -> None:
    kube, name = sandbox.kube, unique("tune")
    define(kube, "ray.io", "v1", "RayJob", "rayjobs")
    define(kube, "ray.io", "v1", "RayCluster", "rayclusters")
    ray_job = Custom(kube, "ray.io/v1", "RayJob", "rayjobs", name)
    ray_job.set_status(jobDeploymentStatus="Initializing")
    page = lab.open(name, cell(f"rayjob/{name}", "auto", since="all"))
    viewer = page.locator(".cortex-logs").first
    says(viewer, "Log not available yet")
    cluster = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", f"{name}-9x2kd", ray_job.reference)
    code = "import os, time\nfor step in range(8): print('{} step', step, 'loss', 1 / (step + 1), flush=True)\n"
    wait = f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)\n"
    for index in range(-1, WORKERS):
        role, group = ("head", "headgroup") if index < 0 else ("worker", "gpu")
        labels = {
            "ray.io/is-ray-node": "yes",
            "ray.io/cluster": cluster.name,
            "ray.io/node-type": role,
            "ray.io/group": group,
            "ray.io/identifier": f"{cluster.name}-{role}",
        }
        if index >= 0:
            labels["ray.io/worker-group-replica-index"] = str(index)
        who = "head" if index < 0 else f"{group}-worker"
        suffix = uuid.uuid4().hex[:5]
        create_pod(kube, f"{cluster.name}-{who}-{suffix}", code.format(role) + wait, cluster.reference, labels)
    job = python_job(name, code.format("submitter") + wait)
    job["metadata"]["ownerReferences"] = [ray_job.reference]
    kube.create(job)
    ray_job.set_status(rayClusterName=cluster.name, jobDeploymentStatus="Running", jobStatus="RUNNING")
    says(viewer, f"{(WORKERS + 2) * 8} lines")
    expect(viewer.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    role_switch = viewer.get_by_role("button", name=f"worker, {WORKERS} of {WORKERS} sources shown")
    expect(role_switch).to_be_attached(timeout=WAIT)
    shot(page, "ray-job-running")
    # Only entries in sight are in the document.
    viewer.get_by_role("switch").first.focus()
    for who in ("head", "submitter", "worker", *(f"worker-{n}" for n in range(WORKERS))):
        expect(viewer.get_by_role("switch", name=re.compile(f"^{who} "))).to_be_focused(timeout=WAIT)
        page.keyboard.press("ArrowDown")
    gate.touch()
    ray_job.set_status(rayClusterName=cluster.name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    says(viewer, "RayJob complete exit 0")
    says(viewer, "complete")
    shot(page, "ray-job-complete")
