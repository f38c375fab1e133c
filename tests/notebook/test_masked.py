from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

import cortex_jupyter as cortex
from cortex_jupyter.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime

LINES = [
    "INFO step 1 loss=0.5",
    "HF_TOKEN=hf_abcdefghijkl",
    '{"level": "info", "msg": "login", "password": "hunter22", "user": "ann@example.org"}',
    "INFO tokens=1234",
    "-----BEGIN PRIVATE KEY-----",
    "A" * 64,
]
SECRETS = ("hf_abc", "hunter22", "ann@", "BEGIN", "A" * 60)


def fill(filled: Filled) -> None:
    filled.lines([(1, i, text) for i, text in enumerate(LINES)]).end()


def test_a_masked_log_has_no_secret_and_counts_what_was_masked(filled: Filled, engine: Runtime, tmp_path: Path) -> None:
    fill(filled)
    log = cortex.logs("ml:train-1")
    masked = log.mask()
    frame = masked.to_pandas()
    assert frame.columns.tolist() == log.to_pandas().columns.tolist() and len(frame) == len(log) == len(masked)
    assert not any(secret in frame.to_csv() for secret in SECRETS)
    assert json.loads(frame["fields"][2])["password"] == "[masked]" and frame["message"][2] == "login"
    assert frame["text"][0] == LINES[0] and frame["text"][3] == LINES[3]
    kinds = {"Secret Keyword": 2, "E-mail": 1, "Private Key": 2}
    assert masked.masked == kinds == masked.complete.masked
    assert "5 secrets masked (1 E-mail, 2 Private Key, 2 Secret Keyword)" in str(masked.complete)
    assert [r.text for r in masked] == frame["text"].tolist() and masked.masked == kinds
    masked.to_parquet(tmp_path / "m.parquet")
    written = pq.read_table(tmp_path / "m.parquet")
    assert json.loads(written.schema.metadata[b"cortex_jupyter.complete"])["masked"] == kinds
    assert not any(secret in str(written.to_pydict()) for secret in SECRETS)
    assert [r.text for r in log] == LINES, "masking a log has changed the recording"


def test_the_level_of_a_masked_line_is_that_of_what_is_left(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 1, "a password='ERROR'"), (1, 2, "ERROR: password: hunter22")]).end()
    log = cortex.logs("ml:train-1")
    assert [record.level for record in log] == ["error", "error"]
    masked = log.mask()
    levels = [record.level for record in masked]
    assert levels == [level or None for level in masked.to_arrow()["level"].to_pylist()]
    assert levels[1] == "error" and levels[0] != "error"


def test_secrets_masked_before_storing_are_counted_too(filled: Filled, engine: Runtime) -> None:
    fill(filled.update(masked={"E-mail": 4}))
    log = cortex.logs("ml:train-1")
    assert log.complete.masked == {"E-mail": 4}
    masked = log.mask()
    list(masked)
    assert masked.complete.masked == {"Secret Keyword": 2, "E-mail": 5, "Private Key": 2}


def test_the_command_line_exports_a_masked_log(
    filled: Filled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(filled)
    for name in ("x.txt", "x.ndjson", "x.csv", "x.parquet"):
        assert main(["export", "ml:train-1", str(tmp_path / name), "--mask"]) == 0
        assert "5 secrets masked" in capsys.readouterr().err
        assert not any(secret.encode() in (tmp_path / name).read_bytes() for secret in SECRETS)
    assert (tmp_path / "x.txt").read_text().splitlines()[1] == "HF_TOKEN=[masked]"
