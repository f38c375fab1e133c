"""The thread of a download ends with its reader, even if nothing matches for long."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from server.running import Server, logs, run_server

from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.event_stream import ReaderGoneError
from cortex_jupyter.tables.files import parquet, select

if TYPE_CHECKING:
    from pathlib import Path

    from server.fake_recorder import FakeRecorder

    from cortex_jupyter.store import Store


@pytest.mark.parametrize("grep", ["line", "in no line"])
def test_a_download_stops_within_a_batch(store: Store, completed: FakeRecorder, tmp_path: Path, grep: str) -> None:
    recording = cast("Any", SimpleNamespace(store=store, id=completed.id, hidden={}))
    info = store.info(completed.id)
    assert info is not None
    query, gone = LogQuery.parse({"grep": grep, "since": "all"}), threading.Event()
    batches = select(recording, query, info, gone)
    if grep == "line":
        assert next(batches).seqs
    gone.set()
    with pytest.raises(ReaderGoneError):
        next(batches)
    with pytest.raises(ReaderGoneError):
        parquet(recording, query, tmp_path / "logs.parquet", gone, 1 << 30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["txt", "ndjson", "parquet"])
def test_head_tells_whether_a_download_would_begin(server: Server, completed: FakeRecorder, suffix: str) -> None:
    def head(**query: str) -> tuple[int, bytes]:
        answer = httpx.head(
            f"{server.url}{logs(completed.ref.name, f'logs.{suffix}')}", headers=server.headers, params=query
        )
        return answer.status_code, answer.content

    assert head(since="all", level="error") == (200, b"")
    assert head(level="no level") == (400, b"")
    assert head(pod="nobody") == (404, b"")
    assert httpx.head(f"{server.url}{logs('nobody', f'logs.{suffix}')}", headers=server.headers).status_code == 502
    assert httpx.head(f"{server.url}{logs(completed.ref.name, f'logs.{suffix}')}").status_code in (302, 403)


def test_head_tells_that_pyarrow_is_missing(server: Server, completed: FakeRecorder, tmp_path: Path) -> None:
    (tmp_path / "without" / "pyarrow").mkdir(parents=True)
    (tmp_path / "without" / "pyarrow" / "__init__.py").write_text("raise ModuleNotFoundError(name='pyarrow')")
    path = f"{tmp_path / 'without'}:{os.environ.get('PYTHONPATH', '')}"
    with run_server(tmp_path, CORTEX_STORE=server.store_url, PYTHONPATH=path) as other:
        address = other.url + logs(completed.ref.name, "logs.parquet")
        missing = httpx.get(address, headers=other.headers, timeout=60)
        assert missing.json()["error"]["code"] == "MissingExtra"
        assert httpx.head(address, headers=other.headers, timeout=60).status_code == missing.status_code
