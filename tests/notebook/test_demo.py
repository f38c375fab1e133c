"""The demo's notebook, executed by a real kernel with the sandbox."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from cortex_jupyter.cli.demo import _wait
from cortex_jupyter.cli.demo.cluster import clean, start
from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def task(sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    monkeypatch.setenv("CORTEX_STORE", f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    monkeypatch.setenv("CORTEX_DEMO_SECONDS", "4")
    asyncio.run(start())
    yield
    asyncio.run(clean())


def test_the_packaged_notebook_is_the_one_in_notebooks() -> None:
    packaged = ROOT / "cortex_jupyter" / "cli" / "demo" / "demo.ipynb"
    assert packaged.read_bytes() == (ROOT / "notebooks" / "demo.ipynb").read_bytes()


class Other(BaseHTTPRequestHandler):
    """Another Jupyter server, which does not accept our token."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api" else 403)
        self.end_headers()


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "lab.log"
    log.write_text("ERROR: the Jupyter server could not be started because port is not available.\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other, subprocess.Popen(["sleep", "0.5"]) as lab:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(CortexError, match="does not start on port") as caught:
            _wait(lab, other.server_port, "token", log)
        other.shutdown()
    assert "--port" in caught.value.hint


def test_every_cell_runs_and_the_saved_file_is_small(task: None, tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "demo.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client: Any = NotebookClient(notebook, timeout=90, kernel_name="python3", store_widget_state=True)
    client.execute()
    out = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    live = out["live"][0].data
    assert live.keys() == {"text/plain", "text/html"} and "cortex-logs-static" in live["text/html"]
    assert "Job complete exit 0" in out["log"][-1].data["text/plain"]
    assert out["complete"][-1].data["text/plain"].endswith("9 sources, complete")
    assert "train-demo-" in out["frame"][-1].data["text/html"]
    assert "mean" in out["loss"][-1].data["text/html"]
    assert "default:job/train-demo" in out["tasks"][-1].data["text/html"]
    path = tmp_path / "saved.ipynb"
    nbformat.write(notebook, path)
    assert path.stat().st_size < 150_000
