"""Losses are counted each time, and logged once per task and interval."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from cortex_jupyter.recorder import losses as lib
from cortex_jupyter.recorder.losses import Losses
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    import pytest


def test_losses_are_counted_each_time_and_logged_once_per_task_and_interval(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    losses = Losses(lambda: now)
    labels = {"reason": "store_memory"}
    before = REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) or 0
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            losses.add("ml:job/a", "store_memory", 10)
        losses.add("ml:job/b", "store_memory", 10)
        losses.add("ml:job/a", "rotated")
        now = lib.INTERVAL_S
        losses.add("ml:job/a", "store_memory", 10)
    assert REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) == before + 70
    logged = [(vars(record)["task"], record.getMessage().rpartition("(")[2]) for record in caplog.records]
    missing = "lines are missing: the node rotated them away before they could be read"
    assert logged == [
        ("ml:job/a", "10 lines)"),
        ("ml:job/b", "10 lines)"),
        ("ml:job/a", missing),
        ("ml:job/a", "50 lines)"),
    ]


def test_each_reason_has_words_for_our_log() -> None:
    assert lib._TEXTS.keys() == set(recorder_metrics.LOSS_REASONS)
