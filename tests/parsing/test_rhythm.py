"""When a task is silent for longer than usual, by its lines as they come."""

from __future__ import annotations

import random

from cortex_jupyter.parsing.rhythm import Rhythm

SECOND = 10**9


class Lines:
    """Lines of some ranks, noted as a recorder notes them: the newest of each commit."""

    def __init__(self, ranks: int = 4) -> None:
        self.rhythm, self.ranks, self.now, self._chance = Rhythm(), ranks, 0.0, random.Random(1)

    def steps(self, count: int, every_s: float = 2.0) -> Lines:
        for step in range(count):
            self.now += every_s * self._chance.gauss(1, 0.1)
            for rank in range(self.ranks):
                self.say(rank, f"step {step} loss={self._chance.random():.3f}")
        return self

    def say(self, rank: int, text: str, after_s: float = 0.0) -> Lines:
        self.now += after_s
        at = int((self.now + rank / 1000) * SECOND)
        self.rhythm.note(rank, at, at, text)
        return self


def test_a_silence_stands_out_after_minutes_and_earlier_the_longer_the_task_ran() -> None:
    for steps, usual, long in ((200, 300, 600), (2000, 100, 180), (20_000, 30, 60)):
        rhythm = Lines().steps(steps).rhythm
        assert not rhythm.silence(usual) and rhythm.silence(long).startswith("usually every 2"), steps


def test_checkpoints_are_learned() -> None:
    lines = Lines()
    for _ in range(5):
        lines.steps(100).say(0, "saving checkpoint", 0.1)
        assert not lines.rhythm.silence(200)
        lines.now += 150
    assert not lines.steps(1).rhythm.silence(250)
    assert lines.rhythm.silence(500), "after a step there is no checkpoint"


def test_a_task_without_a_rhythm_may_be_silent() -> None:
    assert not Rhythm().silence(10**6)
    assert not Lines().steps(10).rhythm.silence(10**6)
    start = Lines(1)
    for shard in range(300):
        start.say(0, f"shard {shard} is loaded", 0.05)
    assert not start.rhythm.silence(10**6), "a start is no rhythm"
    service, chance = Lines(1), random.Random(2)
    for _ in range(500):
        service.say(0, "GET /", chance.paretovariate(0.7))
    assert not service.rhythm.silence(10**6), "requests come at random"


def test_fast_lines_do_not_make_a_second_long() -> None:
    lines = Lines(1)
    for step in range(20_000):
        lines.say(0, f"step {step}", 0.01)
    assert not lines.rhythm.silence(30) and lines.rhythm.silence(400)


def test_a_rhythm_that_changes_is_learned_anew() -> None:
    lines = Lines(2).steps(3000, 1.0).steps(3000, 20.0)
    assert not lines.rhythm.silence(150) and lines.rhythm.silence(1500).startswith("usually every 20 s")
