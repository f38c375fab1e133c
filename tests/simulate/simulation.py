"""The fleet in motion: from a quarter to nine until a quarter past, half a second at a time.

At nine viewers come, at ten past a collector dies. In each step containers write (bursts, Poisson), and collectors,
Valkey and servers work off what that costs; what is left of it waits (Lindley's recursion). A collector that is behind
gathers more lines in a commit and in a piece, as the product does: its work shrinks as its delay grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from simulate.fleet import BURST_S, BURST_SHARE, FIRST_LINES, Fleet, Population
from simulate.queueing import batches, left, wait
from simulate.sizing import LOOKS, Paper

from cortex_jupyter.recorder.writing.writer import INTERVAL_S, UNREAD_S
from cortex_jupyter.store import HEARTBEAT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulate.parameters import Parameters

STEP_S: Final = 0.5
#: It is missed when its heartbeat is cold and somebody looks; the Deployment has another one after so long, seconds.
MISSED_S, BACK_S = HEARTBEAT_S + 1 / LOOKS, 30.0
#: Above this share of Valkey's memory the oldest lines of running tasks leave, down to this one (recording/recorder/upkeep.py).
_SHORT, _ENOUGH = 0.9, 0.85
#: How much longer a collector that is behind gathers lines, seconds.
_LADDER: Final = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
#: Delays are counted in classes up to these, seconds, each so much longer than the one before.
_LEAST_S, _CLASS = 1e-3, 0.05
_EDGES: Final = _LEAST_S * np.exp(_CLASS * np.arange(320))
#: Of the lines of a batch, those at these places are looked at.
_PLACES: Final = (np.arange(10) + 0.5) / 10


@dataclass(frozen=True)
class Day:
    """When what happens, in seconds.

    Parameters
    ----------
    length_s : float
    nine_s, coming_s : float
        When viewers begin to come, and for how long they do.
    death_s : float
        When a collector dies.
    """

    length_s: float = 1800.0
    nine_s: float = 900.0
    coming_s: float = 300.0
    death_s: float = 1500.0


class Delays:
    """Counts lines by their delay."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(_EDGES))

    def add(self, seconds: np.ndarray, lines: np.ndarray) -> None:
        """Count so many lines with that delay."""
        place = np.ceil(np.log(np.maximum(seconds, _LEAST_S) / _LEAST_S) / _CLASS).astype(int)
        self.counts += np.bincount(np.minimum(place, len(_EDGES) - 1).ravel(), lines.ravel(), len(_EDGES))

    def at(self, share: float) -> float:
        """Give the delay that this share of lines does not exceed, seconds."""
        if not self.counts.any():
            return 0.0
        below = np.cumsum(self.counts) / self.counts.sum()
        return float(_EDGES[np.searchsorted(below, share - 1e-12)])


@dataclass
class Outcome:
    """What was seen.

    Attributes
    ----------
    fleet : Fleet
    load : dict of str to ndarray
        By part, the share it was busy in each step.
    behind : dict of str to float
        By part, the longest that work had to wait, seconds.
    delays : dict of str to Delays
        From written to recorded.
    running : ndarray
        Bytes of running tasks in Valkey, in each step.
    started : int
        Tasks.
    lines, commits : float
        In all.
    trimmed : float
        Bytes of running tasks that had no place in Valkey any more: gaps.
    """

    fleet: Fleet
    load: dict[str, np.ndarray] = field(default_factory=dict)
    behind: dict[str, float] = field(default_factory=dict)
    delays: dict[str, Delays] = field(default_factory=dict)
    running: np.ndarray = field(default_factory=lambda: np.zeros(0))
    started: int = 0
    lines: float = 0.0
    commits: float = 0.0
    trimmed: float = 0.0


class Simulation:
    """One run.

    Parameters
    ----------
    fleet : Fleet
    parameters : Parameters
    seed : int, optional
    day : Day, optional
    """

    def __init__(self, fleet: Fleet, parameters: Parameters, seed: int = 1, day: Day | None = None) -> None:
        self._day = day or Day()
        self._rng = np.random.default_rng(seed)
        self._people = people = Population(fleet, self._rng)
        self._paper = Paper(fleet, parameters, people)
        self._fleet, self._p = self._paper.fleet, parameters
        fleet = self._fleet
        self._on = self._rng.random(fleet.containers) < BURST_SHARE
        self._owner: np.ndarray = np.arange(fleet.tasks) % fleet.collectors
        self._waiting = np.zeros(fleet.tasks)  # lines of tasks that nobody has
        self._away, self._back = 0.0, False  # how long nobody had them; whether there is another collector
        self._behind = np.zeros(fleet.collectors)  # seconds of work
        self._store_behind = self._serve_behind = 0.0
        self._come = np.sort(self._day.nine_s + self._rng.random(fleet.viewers) * self._day.coming_s)
        self._seen = self._rng.integers(0, fleet.tasks, fleet.viewers)
        rate = np.bincount(people.task, people.rate, fleet.tasks)
        self._bytes = rate * people.age * parameters.line_bytes + parameters.task_kb * 1e3
        self._outcome = Outcome(fleet)
        self._outcome.delays = {name: Delays() for name in ("read", "unread", "taken over")}

    def run(self, progress: Callable[[], object] = lambda: None) -> Outcome:
        """Run it."""
        steps = int(self._day.length_s / STEP_S)
        found: dict[str, list[float]] = {name: [] for name in ("collectors", "busiest", "Valkey", "servers", "running")}
        behind = {"collectors": 0.0, "Valkey": 0.0, "servers": 0.0}
        for step in range(steps):
            for name, value in self._step(step * STEP_S).items():
                found[name].append(value)
            behind["collectors"] = max(behind["collectors"], float(self._behind.max()))
            behind["Valkey"] = max(behind["Valkey"], self._store_behind)
            behind["servers"] = max(behind["servers"], self._serve_behind)
            progress()
        out = self._outcome
        out.running = np.array(found.pop("running"))
        out.load, out.behind = {name: np.array(values) for name, values in found.items()}, behind
        return out

    def _step(self, now: float) -> dict[str, float]:
        people, fleet, p, out = self._people, self._fleet, self._p, self._outcome
        begun = people.pass_time(STEP_S)
        out.started += len(begun)
        self._bytes[begun] = p.task_kb * 1e3
        starting = self._leases(now, begun)
        lines = self._write(begun)
        task_lines = np.bincount(people.task, lines, fleet.tasks)
        here = int(np.searchsorted(self._come, now))
        viewers = np.bincount(self._seen[:here], minlength=fleet.tasks)
        owned = self._owner >= 0
        self._waiting[~owned] += task_lines[~owned]
        self._bytes += task_lines * owned * p.line_bytes
        self._trim()
        taken = np.where(owned, self._waiting, 0)  # read at once: a few large pieces
        self._waiting[owned] = 0
        commits, busy = self._collect(lines, task_lines, taken, starting, viewers > 0)
        out.lines += float(task_lines[owned].sum() + taken.sum())
        out.commits += float(commits.sum())
        load = self._store(float(task_lines[owned].sum() + taken.sum()), float(commits.sum()))
        served = self._serve(commits, viewers, here - int(np.searchsorted(self._come, now - STEP_S)))
        return {
            "collectors": float(busy.mean()), "busiest": float(busy.max()), "Valkey": load, "servers": served,
            "running": float(self._bytes.sum() + self._paper.tail_bytes()),
        }  # fmt: skip

    def _leases(self, now: float, begun: np.ndarray) -> np.ndarray:
        """Have a collector die, its tasks be taken over, another one come; gives the tasks that are begun anew."""
        starting: np.ndarray = np.zeros(self._fleet.tasks, bool)
        starting[begun] = True
        others, since = self._fleet.collectors - 1, now - self._day.death_s
        if since == 0:
            self._owner[self._owner == 0] = -1
            self._behind[0] = 0
        if since >= MISSED_S and others and (lost := np.flatnonzero(self._owner < 0)).size:
            self._owner[lost] = 1 + np.arange(len(lost)) % others
            self._away = since
            starting[lost] = True
        if since >= BACK_S and not self._back:
            back = np.flatnonzero(np.arange(self._fleet.tasks) % self._fleet.collectors == 0)
            self._away, self._back = since, True
            self._owner[back] = 0
            starting[back] = True
        return starting

    def _write(self, begun: np.ndarray) -> np.ndarray:
        """Give the lines of each container in this step."""
        people, rng = self._people, self._rng
        stops = STEP_S / BURST_S
        turns = rng.random(len(self._on)) < np.where(self._on, stops, stops * BURST_SHARE / (1 - BURST_SHARE))
        self._on ^= turns
        lines: np.ndarray = np.asarray(rng.poisson(people.rate / BURST_SHARE * self._on * STEP_S), float)
        if len(begun):
            lines[np.isin(people.task, begun)] += FIRST_LINES
        return lines

    def _collect(
        self, lines: np.ndarray, task_lines: np.ndarray, taken: np.ndarray, starting: np.ndarray, read: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Have the collectors work; gives each task's commits, and how busy each collector is."""
        fleet, p, people = self._fleet, self._p, self._people
        owned, owner = self._owner >= 0, np.maximum(self._owner, 0)
        interval = np.where(read, INTERVAL_S, UNREAD_S)
        rate, task_rate = lines / STEP_S, task_lines / STEP_S
        fixed = people.sizes * (p.source_us * STEP_S + starting * p.start_ms * 1e3) + (task_lines + taken) * p.line_us
        probes = self._paper.probes * p.probe_ms * 1e3 / fleet.collectors
        looks = (fleet.tasks * p.share_us * LOOKS + probes + p.own_ms * 1e3) * STEP_S

        def work(extra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            later = extra[owner]
            commits = batches(task_rate, interval + later) * STEP_S
            pieces = np.bincount(people.task, batches(rate, later[people.task]) * STEP_S, fleet.tasks)
            us = (fixed + pieces * p.read_us + commits * p.commit_us) * owned
            return np.bincount(owner, us, fleet.collectors) + looks, commits

        extra = np.zeros(fleet.collectors)
        us, commits = work(extra)
        asked = us / 1e6 / STEP_S
        for longer in _LADDER[1:]:
            late = us / 1e6 + self._behind > STEP_S
            if not late.any():
                break
            extra = np.where(late, longer, extra)
            us, commits = work(extra)
        self._behind = left(self._behind, us / 1e6, STEP_S)
        commits = commits * owned
        self._count(task_lines, taken, commits, (interval + extra[owner], self._behind[owner], asked[owner]), read)
        return commits, asked

    def _count(
        self, lines: np.ndarray, taken: np.ndarray, commits: np.ndarray, delay: tuple[np.ndarray, ...], read: np.ndarray
    ) -> None:
        """Count the lines by how long they waited: for their batch, for the collector, for Valkey."""
        interval, behind, busy = delay
        each = self._p.commit_us / 1e6
        base = behind + wait(np.minimum(busy, 0.99), each) + each + self._store_behind
        owned = self._owner >= 0
        first = np.minimum(commits, lines)
        for name, some in (("read", read & owned), ("unread", ~read & owned)):
            self._outcome.delays[name].add(base[some], first[some])
            within = base[some, None] + interval[some, None] * _PLACES
            rest = (lines - first)[some, None] / len(_PLACES)
            self._outcome.delays[name].add(within, np.broadcast_to(rest, within.shape))
        some = (taken > 0) & owned
        within = base[some, None] + self._away * _PLACES
        self._outcome.delays["taken over"].add(within, np.broadcast_to(taken[some, None] / len(_PLACES), within.shape))

    def _store(self, lines: float, commits: float) -> float:
        p, fleet = self._p, self._fleet
        looks = fleet.collectors * LOOKS * STEP_S * fleet.tasks
        us = lines * p.valkey_line_us + commits * p.valkey_commit_us + looks * p.valkey_share_us
        us += fleet.collectors * p.valkey_own_ms * 1e3 * STEP_S
        self._store_behind = float(left(self._store_behind, us / 1e6, STEP_S))
        return us / 1e6 / STEP_S

    def _trim(self) -> None:
        """Let the oldest lines go of what is over its bound and, where the server is nearly full, of what is largest."""
        fleet = self._fleet
        before = self._bytes.sum()
        if fleet.task_gb:
            self._bytes = np.minimum(self._bytes, fleet.task_gb * 1e9)
        rest = self._paper.tail_bytes()
        whole = fleet.valkey_gb * 1e9
        if self._bytes.sum() + rest > _SHORT * whole:
            # Down to one level, which is found from the smallest up.
            ordered, room = np.sort(self._bytes), max(_ENOUGH * whole - rest, 0)
            left_ = np.arange(len(ordered), 0, -1)
            fits = np.concatenate([[0], np.cumsum(ordered)[:-1]]) + ordered * left_ > room
            at = int(np.argmax(fits))
            self._bytes = np.minimum(self._bytes, (room - ordered[:at].sum()) / left_[at])
        self._outcome.trimmed += float(before - self._bytes.sum())

    def _serve(self, commits: np.ndarray, viewers: np.ndarray, come: int) -> float:
        """Have the servers work: new batches for who is there, the last minute's for who comes."""
        p, servers = self._p, self._fleet.servers
        minute = 60 / UNREAD_S
        us = (commits[viewers > 0].sum() + come * minute) * p.event_us + (commits @ viewers + come * minute) * p.send_us
        us += servers * p.server_own_ms * 1e3 * STEP_S
        self._serve_behind = float(left(self._serve_behind, us / 1e6 / servers, STEP_S))
        return float(us / 1e6 / STEP_S / servers)
