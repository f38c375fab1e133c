from __future__ import annotations

from typing import TYPE_CHECKING

from cortex_jupyter.tables.statement import Completeness

if TYPE_CHECKING:
    from support.filled import Filled


def said(filled: Filled) -> str:
    return str(Completeness.of(filled.store, filled.id))


def test_the_statement_of_an_empty_recording(filled: Filled) -> None:
    assert said(filled) == "0 lines, 3 sources, complete so far"
    assert Completeness.of(filled.store, filled.id).as_dict()["from"] is None


def test_the_statement_of_a_complete_recording_over_days(filled: Filled) -> None:
    filled.lines([(1, 0, "a"), (1, 90_000 * 10**9, "b")]).end()
    assert said(filled) == "2 lines, 2026-01-01 00:00:00 to 2026-01-02 01:00:00 UTC, 3 sources, complete"


def test_the_statement_counts_masked_secrets(filled: Filled) -> None:
    filled.update(masked={"Secret Keyword": 2, "E-mail": 1}).end()
    assert said(filled) == "0 lines, 3 sources, 3 secrets masked (1 E-mail, 2 Secret Keyword), complete"
    assert Completeness.of(filled.store, filled.id).as_dict()["masked"] == {"Secret Keyword": 2, "E-mail": 1}


def test_the_statement_names_a_gap_with_reason_and_source(filled: Filled) -> None:
    times = {"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:00:04Z"}
    source = {"pod": "train-1-aa", "container": "main"}
    filled.lines([(1, 0, "a")]).notice("gap", "lines are missing", **times, reason="rotated away", source=source)
    filled.notice("gap", "lines are missing").end()
    assert said(filled) == (
        "1 line, 00:00:00 to 00:00:00 UTC, 3 sources, 2 gaps: train-1-aa/main 00:00:01 to 00:00:04 (rotated away); "
        "at an unknown time (lines are missing)"
    )
