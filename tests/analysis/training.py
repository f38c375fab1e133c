"""Logs of distributed trainings as tables, with times that are made up: nothing waits."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cortex_jupyter.parsing.level import level
from cortex_jupyter.tables.schema import schema

T0 = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z


@dataclass
class Training:
    """A training whose ranks make each step together, as with an all-reduce.

    Parameters
    ----------
    ranks : int
    step_s : float
        The usual time of a step (seconds); each varies by a tenth.
    form : str
        The line of a step.
    """

    ranks: int = 4
    step_s: float = 2.0
    form: str = "INFO trainer: step {step} loss={loss:.4f}"
    seed: int = 1
    now: float = 0.0
    step: int = 0
    lines: list[tuple[float, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def say(self, text: str, ranks: Any = None, after_s: float = 0.05) -> Training:
        """Write a line in all ranks, or in some."""
        for rank in range(self.ranks) if ranks is None else ranks:
            self.lines.append((self.now + after_s + rank * 1e-4, rank, text))
        return self

    def run(self, steps: int, ranks: Any = None, slow: float = 1.0, form: str = "") -> Training:
        """Make steps."""
        for _ in range(steps):
            self.now += slow * self.step_s * max(0.2, self._random.gauss(1, 0.1))
            self.step += 1
            loss = 2 / (1 + self.step / 50)
            self.say(
                (form or self.form).format(step=self.step, loss=loss, rank="{rank}"), ranks, self._random.random() / 100
            )
        return self

    def wait(self, seconds: float) -> Training:
        """Do nothing."""
        self.now += seconds
        return self

    @property
    def end(self) -> int:
        """Now (ns)."""
        return T0 + int(self.now * 1e9)

    def table(self) -> pa.Table:
        """Return the log as `to_arrow` does."""
        rows = [
            {
                "time": T0 + int(at * 1e9),
                "seq": seq,
                "namespace": "ml",
                "task": "ml:pytorchjob.kubeflow.org/bert",
                "pod": f"bert-worker-{rank}",
                "container": "pytorch",
                "kind": "main",
                "run": 0,
                "node": f"node-{rank // 8}",
                "stream": "stdout",
                "level": level(text),
                "message": text,
                "text": text,
                "role": "worker",
                "rank": str(rank),
                "attempt": "",
            }
            for seq, (at, rank, text) in enumerate(sorted(self.lines, key=lambda line: line[0]), 1)
        ]
        return pa.Table.from_pylist(rows, schema=schema())
