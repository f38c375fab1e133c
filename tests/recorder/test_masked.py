"""Secrets are masked before lines are stored: in resumed streams, rotated files and the audit. Each is counted once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from recorder.test_source import Rig
from support.hand import Hand, on_sqlite, source
from support.node import Node, cri, line, pod

from cortex_jupyter.errors import BadQuery, MissingExtra, StoreBusy, StoreError
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.backfill import Backfill
from cortex_jupyter.recorder.source.stream import RunState
from cortex_jupyter.recorder.writing.batch import PendingNotice
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store.masking import configure_masking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cortex_jupyter.store.sqlite.store import SqliteStore


def secret(second: float, number: int) -> bytes:
    return line(second, f"line {number} token=abc{number:05} " + "x" * 200)


def texts(rig: Rig) -> list[str]:
    return [text.rstrip("x ") for text in rig.texts]


def masked(*numbers: int) -> list[str]:
    return [f"line {n} token=[masked]" for n in numbers]


@pytest.fixture
async def writer(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    monkeypatch.setattr("cortex_jupyter.recorder.source.source._FIRST_WAIT_S", 0.01)
    with Writer(store) as one:
        yield one


@pytest.fixture
def rig(store: SqliteStore, hand: Hand) -> Rig:
    one = Rig(store, hand, Node(pod()))
    one.masked = True
    return one


OLD = [secret(i / 100, i) for i in range(400)]
LOST = [secret(30 + i / 100, 400 + i) for i in range(300)]
NEW = [secret(50 + i / 100, 700 + i) for i in range(50)]


async def test_a_resumed_stream_is_masked(rig: Rig, writer: Writer) -> None:
    async def ends() -> None:
        rig.node.pod = pod("terminated")

    rig.node.log = b"".join(OLD)
    rig.node.scripts = [
        [b"".join(OLD[:250]), ConnectionResetError()],
        [b"".join(OLD[:300]), ConnectionResetError()],
        [b"".join(OLD), ends],
    ]
    await rig.run(writer)
    assert (texts(rig), rig.gaps, rig.ended) == (masked(*range(400)), [], True)
    assert rig.store.complete(rig.hand.id).masked == {"Secret Keyword": 400}


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
async def test_the_setting_changes_between_two_recorders(rig: Rig, writer: Writer, first: bool, second: bool) -> None:
    rig.masked = first
    rig.node.log = b"".join(OLD[:250])
    rig.node.scripts = [[b"".join(OLD[:250])]]
    reader = rig.take_over(writer)
    await reader._stream.read(RunState.RUNNING, reader._ask_state, reader._watched_state)
    await rig.channel.flush()
    rig.masked = second
    rig.node.pod, rig.node.log = pod("terminated"), b"".join(OLD)
    await rig.run(writer)
    # Stored lines stay as they are. A recording in which masking was ever on is masked to its end.
    plain = 0 if first else 250
    assert texts(rig) == [f"line {n} token=abc{n:05}" for n in range(plain)] + masked(*range(plain, 400))
    assert rig.gaps == [] and rig.store.complete(rig.hand.id).masked == {"Secret Keyword": 400 - plain}


async def test_lines_from_rotated_files_are_masked(rig: Rig, writer: Writer) -> None:
    async def ends() -> None:
        rig.node.pod, rig.node.log = pod("terminated"), b"".join(NEW)

    rig.node.files = {
        "0.log.20231114-221400": cri(b"".join(OLD[:200])),
        "0.log.20231114-221410": cri(b"".join(OLD[200:] + LOST)),
    }
    rig.node.scripts = [[b"".join(OLD)], [b"".join(NEW), ends]]
    await rig.run(writer)
    assert texts(rig) == masked(*range(750)) and not rig.gaps
    assert rig.store.complete(rig.hand.id).masked == {"Secret Keyword": 750}


async def test_the_audit_finds_only_skipped_lines(rig: Rig, writer: Writer) -> None:
    rig.node.pod, rig.node.log = pod("terminated"), b"".join(NEW)
    rig.node.scripts = [[b"".join(OLD + NEW)]]
    await rig.run(writer)
    rig.node.files = {"0.log.20231114-221400": cri(b"".join(OLD + LOST[:3]))}
    for _ in range(2):
        await Audit(rig.context, source(), rig.sid, rig.reader).check_rest()
    assert texts(rig) == masked(*range(400), *range(700, 750), 400, 401, 402)
    assert rig.store.complete(rig.hand.id).masked == {"Secret Keyword": 453}


async def test_a_backfill_is_masked(rig: Rig, writer: Writer) -> None:
    rig.node.pod, rig.node.log = pod("terminated"), b"".join(NEW)
    await rig.run(writer)
    rig.node.files = {
        "0.log.20231114-221400": cri(b"".join(OLD)),
        "0.log.20231114-221410": cri(b"".join(LOST + NEW[:20])),
    }
    await Backfill(rig.context, source(), rig.sid).run()
    await rig.channel.flush()
    assert texts(rig) == masked(*range(700, 750), *range(700))
    assert rig.store.complete(rig.hand.id).masked == {"Secret Keyword": 750}


async def test_a_notice_with_a_secret_is_masked(rig: Rig, writer: Writer) -> None:
    rig.take_over(writer)
    message = "Liveness probe failed: password=hunter22"
    rig.channel.put_notice(PendingNotice("status", message, update={"message": message}))
    await rig.channel.flush()
    (entry,) = rig.store.entries(rig.hand.id, 0, 1 << 20)
    info = rig.store.info(rig.hand.id)
    assert b"hunter22" not in entry.data and info is not None and "hunter22" not in info.message
    assert info.masked == {"Secret Keyword": 1}


@on_sqlite
def test_the_setting_applies_to_all_programs_that_use_the_store(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORTEX_MASK", raising=False)
    assert not configure_masking(store) and configure_masking(store, wish=True) and configure_masking(store)
    monkeypatch.setenv("CORTEX_MASK", "0")
    assert configure_masking(store, wish=True) and not configure_masking(store)
    monkeypatch.setenv("CORTEX_MASK", " Yes ")
    assert configure_masking(store)
    monkeypatch.setenv("CORTEX_MASK", "perhaps")
    with pytest.raises(BadQuery, match="neither yes nor no"):
        configure_masking(store)


@on_sqlite
def test_a_setting_that_cannot_be_stored_is_an_error(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: str) -> None:
        raise StoreBusy("another process writes")

    def sealed(*_: str) -> None:
        raise StoreError("read-only")

    monkeypatch.setattr(store, "set_setting", busy)
    with pytest.raises(StoreBusy):
        configure_masking(store, wish=True)
    monkeypatch.setattr(store, "set_setting", sealed)
    assert configure_masking(store, wish=True)  # a read-only store records nothing


def test_a_recorder_without_masking_rules_ends_and_names_what_to_install(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "detect_secrets.py").write_text("raise ModuleNotFoundError(name=__name__)")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "CORTEX_MASK": "1"}
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", store.url]
    ended = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and 'pip install "cortex-jupyter[mask]"' in ended.stderr.splitlines()[-1]

    def missing() -> None:
        raise MissingExtra("masking needs detect-secrets")

    monkeypatch.setattr("cortex_jupyter.store.masking.rules", missing)
    with pytest.raises(MissingExtra):
        configure_masking(store, wish=True)
    assert store.setting("mask") != "1"
