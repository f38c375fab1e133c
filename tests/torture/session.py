"""A day in the life of an open notebook, in an hour: `python tests/torture/session.py [MINUTES]`.

A real JupyterLab in Chromium shows a running Job in two viewers, one through the server and one through the kernel. One
after the other: the kernel restarts, the machine sleeps, the server restarts, the recorder is killed, the page is
offline, a regular expression hangs the worker, and the package is upgraded. After each, both viewers must show new
lines, and the page must have answered all the time. In the end both must have every line once, without a gap. The exit
code is 1 if not.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parents[1])

from browser.conftest import Lab  # noqa: E402 - needs the path set above
from conftest import run_sandbox  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402
from support.browser import SLEEPER, cell, chromium, run_all  # noqa: E402
from support.jupyter import Home, Jupyter, until  # noqa: E402
from support.kube import python_job  # noqa: E402

import cortex_jupyter  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

RATE = 20
#: Longest time that the page may need for an answer, and a viewer for a new line after an event (seconds).
ANSWER_S, RECOVERY_S = 5, 120


class Session:
    """The open notebook."""

    def __init__(self, lab: Lab, page: Page, package: Path, written: Callable[[], int]) -> None:
        self.lab, self.page, self.package, self.written = lab, page, package, written
        self.versions = itertools.count(1)
        self.slowest = 0.0

    @property
    def viewers(self) -> list[Locator]:
        """The viewers: through the server, and through the kernel."""
        found = self.page.locator(".cortex-logs")
        expect(found).to_have_count(2)
        return [found.nth(0), found.nth(1)]

    def pause(self, seconds: float) -> None:
        """Wait; the page must answer meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked = time.monotonic()
            self.page.evaluate("() => new Promise((done) => setTimeout(done))")
            self.slowest = max(self.slowest, time.monotonic() - asked)
            time.sleep(0.2)

    def check(self) -> float:
        """Wait until both viewers have a line that is written from now on; return how long that took (seconds)."""
        begun, number = time.monotonic(), self.written()
        for viewer in self.viewers:
            viewer.scroll_into_view_if_needed()
            while True:
                self.pause(0.2)
                texts = viewer.locator("[data-seq] .cl-m").all_inner_texts()
                numbers = [int(found[1]) for text in texts if (found := re.match(r"line (\d{8})", text))]
                if max(numbers, default=0) > number:
                    break
                if time.monotonic() - begun > RECOVERY_S:
                    self.page.screenshot(path="session-failed.png")
                    raise AssertionError(
                        f"no new line after {RECOVERY_S} s (session-failed.png): {viewer.inner_text()[-300:]}"
                    )
        return time.monotonic() - begun

    def restart_kernel(self) -> None:
        """Restart the kernel and run all cells."""
        self.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        self.page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        run_all(self.page)

    def sleep(self) -> None:
        """Let the machine sleep for three hours: nothing moves but the clock."""
        self.lab.server.process.send_signal(signal.SIGSTOP)
        try:
            self.page.evaluate("new BroadcastChannel('sleep').postMessage(3 * 3600 * 1000)")
            self.pause(10)
        finally:
            self.lab.server.process.send_signal(signal.SIGCONT)
        self.page.evaluate("new BroadcastChannel('sleep').postMessage(0)")

    def restart_server(self) -> None:
        """Kill Jupyter Server, and start it again at the same address. Its kernels are gone."""
        self.lab.kill()
        self.pause(5)
        self.lab.restart()
        self.page.reload()
        run_all(self.page)

    def kill_recorder(self) -> None:
        """Kill the recorder."""
        for pid in self.lab.home.recorders():
            os.kill(pid, signal.SIGKILL)

    def offline(self) -> None:
        """Be offline for some seconds."""
        self.page.context.set_offline(True)
        self.pause(10)
        self.page.context.set_offline(False)
        # JupyterLab says so in a dialog, which covers the page.
        dialog = self.page.locator(".jp-Dialog")
        if dialog.is_visible():
            dialog.get_by_role("button").last.click()

    def hang_worker(self) -> None:
        """Type a regular expression that takes for ever; the worker is replaced, and the filter removed."""
        box = self.viewers[0].locator("input[type=search]")
        box.fill("/(.*.*)*(.*.*)*(.*.*)*x$/")
        self.pause(15)
        box.fill("")
        box.press("Enter")

    def upgrade(self) -> None:
        """Upgrade the package, restart the kernel, and run the cells in the same page."""
        for name in ("viewer.js", "store.js", "loader.js"):
            with (self.package / "notebook" / "static" / name).open("a") as file:
                file.write(f"\n// {next(self.versions)}\n")
        self.restart_kernel()


def main() -> int:
    """Run the session."""
    end = time.monotonic() + 60 * float(sys.argv[1] if len(sys.argv) > 1 else 60)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A copy that is found before the installed package.
        package = shutil.copytree(Path(cortex_jupyter.__file__).parent, folder / "copy" / "cortex_jupyter")
        gate = folder / "gate"
        with (
            run_sandbox(folder / "sandbox") as sandbox,
            sync_playwright() as playwright,
            chromium(playwright) as browser,
        ):
            home = Home(folder / "home", sandbox.kubeconfig)
            home = replace(home, settings={"PYTHONPATH": str(package.parent)})
            home.path.mkdir()
            lab = Lab(home=home, server=Jupyter(home, "lab"), browser=browser)
            lab.setting("notification", "fetchNews", "false")
            try:
                sandbox.kube.create(python_job("session", until(gate, RATE)))
                sandbox.kube.wait_for(lambda: sandbox.kube.pods_of("session"), "the pod")
                [pod] = sandbox.kube.pods_of("session")

                def written() -> int:
                    return len(sandbox.kube.logs(pod["metadata"]["name"]).splitlines())

                page = lab.open("session", cell("session"), cell("session", "comm"), init=SLEEPER)
                session = Session(lab, page, package, written)
                report = _run(session, end)
                gate.touch()
                for viewer in session.viewers:
                    viewer.scroll_into_view_if_needed()
                    viewer.get_by_role("button", name="All", exact=True).click()
                    expect(viewer).to_contain_text("Job complete exit 0", timeout=120_000)
                    lines = written()
                    shown = f"{lines:,}".replace(",", "\u202f")
                    expect(viewer.locator(".cl-foot")).to_contain_text(
                        re.compile(f"{shown} lines, .* 1 source, complete"), timeout=120_000
                    )
                print(f"{lines} lines in both viewers, complete; slowest answer of the page {session.slowest:.1f} s")
            finally:
                lab.server.close()
                home.end()
    for what, times in report.items():
        print(f"{what:16} {len(times):3} times, new lines after {max(times):.1f} s at most")
    return int(session.slowest > ANSWER_S)


def _run(session: Session, end: float) -> dict[str, list[float]]:
    names = ["restart_kernel", "sleep", "kill_recorder", "hang_worker", "offline", "restart_server", "upgrade"]
    report: dict[str, list[float]] = {}
    session.check()
    for name in itertools.cycle(names):
        if time.monotonic() > end and len(report) == len(names):
            return report
        getattr(session, name)()
        took = session.check()
        report.setdefault(name, []).append(took)
        print(f"{time.strftime('%H:%M:%S')} {name}: new lines after {took:.1f} s", flush=True)
        session.pause(20)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
