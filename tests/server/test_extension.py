from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import httpx
from server.running import TOKEN, logs, run_server

import cortex_jupyter
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.store import Commit
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from server.fake_recorder import FakeRecorder
    from server.running import Server


def test_loading_the_extension_loads_nothing_heavy() -> None:
    code = (
        "import sys, cortex_jupyter; cortex_jupyter._jupyter_server_extension_points(); "
        "print({m.partition('.')[0] for m in sys.modules} & "
        "{'kubernetes', 'aiohttp', 'pyarrow', 'pandas', 'polars', 'numpy', 'anywidget'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_page_configuration_names_the_extension(server: Server) -> None:
    page = server.get("lab").text
    assert f'"cortexJupyter": "{cortex_jupyter.__version__}"' in page


def test_following_counts_as_activity_only_with_the_setting(
    tmp_path: Path, server: Server, fake_recorder: FakeRecorder
) -> None:
    fake_recorder.running()
    for setting in ("True", "False"):
        home = tmp_path / setting
        home.mkdir()
        options = ("--CortexJupyter.heartbeat_s=0.05", f"--CortexJupyter.keep_alive_while_following={setting}")
        with run_server(home, *options, CORTEX_STORE=server.store_url) as one:

            def activity(one: Server = one) -> str:
                # A request counts as activity unless it has `no_track_activity`.
                said: str = one.get("api/status", no_track_activity="1").json()["last_activity"]
                return said

            before = activity()
            with httpx.stream(
                "GET", one.url + logs(fake_recorder.ref.name), params={"follow": "1"}, headers=one.headers
            ) as r:
                beats = b""
                for part in r.iter_raw():
                    beats += part
                    if beats.count(b": hb ") > 4:
                        break
                assert (activity() != before) == (setting == "True")
            assert (activity() != before) == (setting == "True"), (
                "the end of a stream counts as activity against the setting"
            )


def test_masking_is_set_in_the_store_and_for_kernels(
    tmp_path: Path, server: Server, completed: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_MASK", "0")
    web: Any = SimpleNamespace(web_app=SimpleNamespace(settings={}), io_loop=Mock())
    CortexJupyter(mask=True, serverapp=web).initialize_settings()
    assert os.environ["CORTEX_MASK"] == "1"
    completed.store.commit(completed.lease, Commit(update={"masked": {"E-mail": 3}}))
    with run_server(tmp_path, "--CortexJupyter.mask=True", CORTEX_STORE=server.store_url) as one:
        assert one.page(completed.ref.name, limit=1)["complete"]["masked"] == {"E-mail": 3}
        assert completed.store.setting("mask") == "1"
    completed.store.set_setting("mask", "0")


def test_without_masking_rules_nothing_is_recorded_and_an_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "detect_secrets.py").write_text("raise ModuleNotFoundError(name=__name__)")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    with run_server(tmp_path, CORTEX_MASK="1", PYTHONPATH=path) as server:
        assert "Nothing will be recorded: masking needs detect-secrets" in server.log.read_text()
        answer = server.get("cortex/tasks/default/job/train-1/logs")
        assert answer.json()["error"]["code"] == "MissingExtra" and "[mask]" in answer.json()["error"]["hint"]


def test_rows_about_kinds_reach_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORTEX_KINDS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kinds.yaml").write_text("[{name: experiment.lab.example.org, ends: false}]")
    web: Any = SimpleNamespace(web_app=SimpleNamespace(settings={}), io_loop=Mock())
    for rows in ([{"name": "experiment.lab.example.org", "ends": False}], "kinds.yaml"):
        CortexJupyter(kinds=rows, serverapp=web).initialize_settings()
        code = "from cortex_jupyter.cluster.kinds import kind_of; print(kind_of('experiment.lab.example.org').ends)"
        done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_a_bad_row_about_a_kind_is_the_error_of_each_request(tmp_path: Path) -> None:
    with run_server(tmp_path, """--CortexJupyter.kinds=[{"name": "experiment", "ends": false}]""") as server:
        message = "row 1 of CORTEX_KINDS: `name` must be KIND.GROUP"
        assert f"No task can be read: {message}" in server.log.read_text()
        status, error = server.error("cortex/tasks/default/job/train-1/logs")
        assert (status, error["code"]) == (400, "BadQuery") and message in error["message"]


async def test_the_servers_metrics_endpoint_has_our_metrics(server: Server, fake_recorder: FakeRecorder) -> None:
    def found() -> dict[str, float]:
        text = server.get("metrics").text
        return {name: float(value) for name, value in re.findall(r"^(cortex_\S+) (\S+)$", text, re.MULTILINE)}

    fake_recorder.running()
    sid = fake_recorder.source()
    fake_recorder.write([(time.time_ns(), sid, "before the reader came")])
    refused = 'cortex_jupyter_refused_total{code="BadQuery"}'
    before = found()
    server.error(logs(fake_recorder.ref.name), tail="-1")
    async with server.stream(logs(fake_recorder.ref.name), follow="true") as source:
        async for event in source.aiter_sse():
            if event.event == "log":
                if "live" in event.data:
                    break
                fake_recorder.write([(time.time_ns(), sid, "live")])
        now = found()
    assert now["cortex_jupyter_streams"] == before["cortex_jupyter_streams"] + 1
    assert now["cortex_jupyter_sent_bytes_total"] > before["cortex_jupyter_sent_bytes_total"]
    lag = "cortex_jupyter_delivery_lag_seconds_count"
    assert now[lag] == before[lag] + 1, "the delivery lag counts other lines than the new one"
    assert now[refused] == before.get(refused, 0) + 1


def test_the_budget_is_set_in_the_store(tmp_path: Path) -> None:
    """The recorder outlives the server and reads the budget from the store."""
    options = [f"--CortexJupyter.store_max_{k}" for k in ("bytes=50MB", "age=2d", "task_bytes=2MB")]
    with run_server(tmp_path, *options) as server:
        server.get("cortex/tasks")  # the first request opens the store
        store = open_store(server.store_url)
        assert store.budget() == Budget(50_000_000, 2 * 86400, 2_000_000)
        store.close()


def test_the_doctor_finds_the_server_and_its_metrics(server: Server) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CORTEX_", "JUPYTER_", "XDG_"))}
    env |= {
        "HOME": str(server.home),
        "CORTEX_STORE": server.store_url,
        "JUPYTER_PLATFORM_DIRS": "1",
        "KUBECONFIG": "/nowhere",
    }
    command = [sys.executable, "-m", "cortex_jupyter.cli", "doctor", "--timeout", "60"]
    said = subprocess.run(command, env=env, text=True, capture_output=True, check=False).stdout
    assert (
        f"✓ jupyter: Jupyter server {server.url.replace('127.0.0.1', 'localhost')} has cortex-jupyter {cortex_jupyter.__version__}; its metrics are at /metrics"
        in said
    )
    assert TOKEN not in said


def test_a_wrong_setting_is_the_error_of_each_request(tmp_path: Path) -> None:
    with run_server(tmp_path, "--CortexJupyter.store_max_bytes=50 gigs") as server:
        message = "CortexJupyter.store_max_bytes='50 gigs' is not a size"
        assert f"No task can be read: {message}" in server.log.read_text()
        status, error = server.error("cortex/tasks")
        assert (status, error["code"], error["message"]) == (400, "BadQuery", message)
