"""The completeness statement at the end of `logs`, and `--strict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.filled import T0

if TYPE_CHECKING:
    from cli.conftest import Cli
    from support.filled import Filled

BERLIN = {"TZ": "Europe/Berlin"}


@pytest.fixture
def with_gap(filled: Filled) -> Filled:
    span = {"from": str(T0 + 10**9), "to": str(T0 + 4 * 10**9)}
    source = {"pod": "train-1-aa", "container": "main"}
    filled.lines([(1, 0, "a")]).notice("gap", "lines are missing", **span, reason="rotated away", source=source)
    return filled.lines([(1, 5 * 10**9, "b")])


@pytest.mark.parametrize("follow", [(), ("-f",)])
def test_missing_lines_are_reported_in_local_time_and_strict_fails(
    cli: Cli, with_gap: Filled, follow: tuple[str, ...]
) -> None:
    with_gap.end()
    cli.env |= BERLIN
    lax, strict = cli("logs", "ml:train-1", *follow), cli("logs", "ml:train-1", "--strict", *follow)
    assert (lax.returncode, strict.returncode) == (0, 4)
    assert lax.stdout == strict.stdout == "a\nb\n"
    assert strict.stderr.splitlines()[-1] == (
        "2 lines, 01:00:00 to 01:00:05 CET, 3 sources, 1 gap: train-1-aa/main 01:00:01 to 01:00:04 (rotated away)"
    )


def test_the_tasks_own_exit_code_comes_first(cli: Cli, with_gap: Filled) -> None:
    with_gap.end(3, "failed", "Job failed exit 3")
    assert cli("logs", "ml:train-1", "-f", "--strict").returncode == 3


def test_strict_succeeds_if_no_line_is_missing(cli: Cli, filled: Filled) -> None:
    filled.lines([(1, 0, "a")]).end()
    assert cli("logs", "ml:train-1", "--strict").returncode == 0
    assert "exit with 4" in cli("logs", "--help").stdout
