"""The thread of a download ends with its reader, even if nothing matches for long."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.event_stream import ReaderGoneError
from cortex_jupyter.server.download import parquet, select

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
