"""The viewer shows why a log cannot be read, until it can be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from browser.conftest import Lab
from playwright.sync_api import expect
from support.browser import WAIT, says, shot
from support.jupyter import Home, Jupyter
from support.kube import python_job
from support.limited import limited_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import SandboxProcess
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


def test_a_missing_right_is_named_and_the_log_appears_when_it_is_granted(
    target: Any, sandbox: Any, browser: Browser, unique: Callable[[str], str], tmp_path: Path
) -> None:
    with limited_user(target, unique("right"), tmp_path) as user:
        target.kube.create(python_job("done", "print('a line')", namespace=user.namespace))
        target.kube.wait_job("done", namespace=user.namespace)
        user.deny("pods/log")
        home = Home(tmp_path, user.kubeconfig)
        lab = Lab(home=home, server=Jupyter(home, "server"), browser=browser)
        try:
            page = lab.view(f"{user.namespace}:job/done", since="all")
            viewer = page.locator(".cortex-logs").first
            says(viewer, f"you may not read logs in namespace '{user.namespace}': the right `get pods/log` is missing")
            expect(viewer.locator(".cl-empty")).to_contain_text("the right `get pods/log` is missing")
            expect(viewer.locator(".cl-foot")).not_to_contain_text("recorder is starting")
            shot(page, "right-light")
            page.emulate_media(color_scheme="dark")
            shot(page, "right-dark")
            user.deny()
            says(viewer, re.compile("Job complete exit 0.*1 line,"))
            expect(viewer.locator("[data-seq]").last).to_contain_text("a line", timeout=WAIT)
            shot(page, "right-given")
        finally:
            lab.server.close()
            home.end()


def test_an_unreachable_cluster_is_reported_beside_the_recorded_lines(
    new_sandbox: Callable[..., AbstractContextManager[SandboxProcess]], browser: Browser, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    home = Home(tmp_path, kubeconfig)
    with new_sandbox(tmp_path / "cluster") as sandbox:
        kubeconfig.write_text(sandbox.kubeconfig.read_text())
        sandbox.kube.create(python_job("away", "import time\nprint('a line', flush=True)\ntime.sleep(600)"))
        lab = Lab(home=home, server=Jupyter(home, "server"), browser=browser)
        page = lab.view("default:job/away", since="all")
        expect(page.locator("[data-seq]").last).to_contain_text("a line", timeout=WAIT)
        page.close()
        home.end()
    try:
        page = lab.view("default:job/away", since="all")
        viewer = page.locator(".cortex-logs").first
        says(viewer, re.compile("The cluster cannot be asked: .* does not answer.*; this is what is recorded"))
        expect(page.locator("[data-seq]").last).to_contain_text("a line", timeout=WAIT)
        expect(viewer).not_to_contain_text("no longer in the cluster")
        shot(page, "away-light")
        page.emulate_media(color_scheme="dark")
        shot(page, "away-dark")
        page.goto(re.sub("task=[^&]*&", "", page.url))
        expect(page.locator("[role=alert]")).to_contain_text("The cluster cannot be asked", timeout=WAIT)
        expect(page.locator("tbody")).to_contain_text("job/away")
        shot(page, "away-tasks")
    finally:
        lab.server.close()
        home.end()
