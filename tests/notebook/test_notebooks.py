"""The notebooks, each executed by its own kernel, with one sandbox."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from archive.s3 import gate, seaweed
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from support.jupyter import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import NewSandbox

pytestmark = pytest.mark.timeout(900)  # the first test runs all notebooks
FOLDER = Path(__file__).parents[2] / "notebooks"
#: A short demo with few pods.
SHORT: dict[str, dict[str, Any]] = {
    "first-look": {"seconds": 1.5},
    "why-did-it-die": {"seconds": 1.5},
    "curves-from-text": {"seconds": 3},
    "compare-two-runs": {"seconds": 1.5},
    "64-pods": {"pods": 12, "seconds": 1},
    "distributed-training": {"workers": 4, "seconds": 1.5},
    "which-rank": {"workers": 6, "seconds": 7},
    "logs-from-s3": {"archive": "s3://runs/logs", "seconds": 1},
}
EXPECTED: dict[str, dict[str, list[str]]] = {
    "first-look": {
        "live": ["cortex-logs-static"],
        "line": ["epoch done"],
        "end": ["Job complete exit 0"],
        "complete": ["2 sources, complete"],
        "progress": ["epoch"],
        "patterns": ["step"],
        "curves": ["<svg", "rank 1"],
    },
    "why-did-it-die": {
        "why-cell": ["train of dying-1-", "ended with exit code 1, after RuntimeError: CUDA error", "forward"],
        "attributes": ["(1, 'dying-1-", "'RuntimeError', 'forward')"],
        "errors-cell": ["loss is nan at step 96", "RuntimeError"],
        "curve": ["NaN from step 96"],
        "raised": ["50 lines"],
    },
    "curves-from-text": {
        "plot": ["<svg", "rank"],
        "metrics": ["samples/s", "val_acc"],
        "pivot": ["2"],
        "sql": ["loss"],
        "pattern": ["curves-"],
        "more": ["curves-2", "<svg"],
    },
    "compare-two-runs": {
        "comparison": ["The first line that differs", "gradient norm", "loss is nan at step", "the whole log"],
        "durations": ["phase"],
        "only": ["loss is nan at step"],
        "first": ["gradient norm"],
        "losses": ["<svg", "good", "bad"],
    },
    "logs-from-s3": {
        "archived": ["s3://runs/logs/"],
        "open": ["cortex-logs-static", "last-week"],
        "complete": ["2 sources, complete"],
        "why": ["train of last-week-1-", "RuntimeError: CUDA error"],
        "frame": ["Traceback"],
        "sql": ["info"],
        "curves": ["<svg", "rank 1"],
    },
    "distributed-training": {
        "start": ["cortex-logs-static"],
        "tasks": ["pytorchjob.kubeflow.org/bert"],
        "wait": ["PyTorchJob failed exit 1: worker-3 (pod bert-worker-3) failed first"],
        "filter": ["epoch done"],
        "columns": ["role", "rank", "attempt", "worker"],
        "plot": ["<svg"],
        "means": [r"rank\n0 "],
        "why-cell": ["RuntimeError: CUDA error", "worker-3"],
        "raised": ["worker-3 (pod bert-worker-3) failed first"],
    },
    "which-rank": {
        "why-cell": ["worker-3 failed first", "RuntimeError: CUDA error", "others lost a peer", "log.seq["],
        "evidence": ["Traceback", "CUDA error"],
        "strips": ["<svg", "worker-1 slow", "worker-2 silent", "worker-3 failed first"],
        "ranks-cell": ["failed first", "slow", "silent"],
        "pandas": ["failed first", "slow", "silent"],
        "hang": ["no step since", "usually every 2 s", "rank 2 had not reached step 1800"],
        "hang-frame": ["[rank 2]"],
        "hang-strips": ["<svg"],
    },
    "64-pods": {
        "complete": ["12 sources, complete"],
        "plot": ["12 sources", "far from the others"],
        "worst": ["7"],
        "patterns": ["12"],
    },
}


@pytest.fixture(scope="module")
def home(new_sandbox: NewSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A cluster of its own: the notebooks expect an operator where another test has defined PyTorchJobs."""
    options = ("--bookmark", "1", "--log-check", "1", "--job-backoff", "0.2")
    with new_sandbox(tmp_path_factory.mktemp("sandbox"), *options) as sandbox:
        home = Home(tmp_path_factory.mktemp("home"), sandbox.kubeconfig)
        yield home
        home.end()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment for clients of an S3 server."""
    with seaweed(tmp_path_factory.mktemp("s3")) as port, gate(port) as way:
        yield way.env


@pytest.fixture(scope="module")
def run(home: Home, s3: dict[str, str]) -> dict[str, Any]:
    """Execute all notebooks, two at a time."""
    env = {**home.env, **s3, "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), str(FOLDER)])}
    turn = asyncio.Semaphore(2)

    async def execute(name: str) -> Any:
        notebook: Any = load_notebook_node(str(FOLDER / f"{name}.ipynb"))
        assert not any(cell.get("outputs") for cell in notebook.cells)
        notebook = parameterize_notebook(notebook, SHORT[name])
        client: Any = NotebookClient(notebook, timeout=600, kernel_name="python3", store_widget_state=True)
        async with turn:
            await client.async_execute(env=env, cwd=str(FOLDER))
        if folder := os.environ.get("CORTEX_TEST_SHOTS"):
            nbformat.write(notebook, Path(folder) / f"{name}.ipynb")
        return notebook

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(execute, SHORT))

    return dict(zip(SHORT, asyncio.run(all_of_them()), strict=True))


@pytest.mark.parametrize("name", SHORT)
def test_a_notebook_runs_and_shows_its_outputs(run: dict[str, Any], name: str) -> None:
    shown = {cell.id: str(cell.outputs) for cell in run[name].cells if cell.cell_type == "code"}
    for id_, words in EXPECTED[name].items():
        assert not [word for word in words if word not in shown[id_]], f"{id_}: {shown[id_][:3000]}"
    assert len(nbformat.writes(run[name])) < 1_200_000, "the saved notebook is too large"


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} - {"demo"} == set(SHORT)


def test_papermill_stops_at_a_task_that_failed(home: Home) -> None:
    cells = [
        nbformat.v4.new_code_cell("seconds = 9", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import cortex_jupyter as cortex\nfrom tasks import start\nstart('stops', seconds=seconds, fail=1)\n"
            "cortex.logs('stops').wait(timeout=60, raise_on_failure=True)"
        ),
        nbformat.v4.new_code_cell("print('never')"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), home.path / "in.ipynb")
    env = {**home.env, "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), str(FOLDER)])}
    home = type("Here", (Home,), {"env": env})(home.path, home.kubeconfig)
    done = home.run("papermill", "in.ipynb", "out.ipynb", "-p", "seconds", "0.5", "--no-progress-bar")
    assert done.returncode != 0 and "TaskFailed" in done.stderr and "CUDA error" in done.stderr
    assert "never" not in str(
        [cell.get("outputs") for cell in nbformat.read(home.path / "out.ipynb", as_version=4).cells]
    )
