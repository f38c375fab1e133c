"""Recorders share tasks evenly, whichever come and go: each decides alone, from what all of them see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from support.hand import CLUSTER, recorder

from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.collector.sharing import LEAVE_S, TaskSharing
from cortex_jupyter.recorder.recorder import Recorder

if TYPE_CHECKING:
    from cortex_jupyter.store import Store as RealStore


class Store:
    """Of a store, who has what; its recorders look at it in turn, twice a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.holders: dict[int, str] = {}
        self.recorders: dict[str, TaskSharing | None] = {}

    def come(self, name: str, *, idle: bool = False) -> None:
        self.recorders[name] = None if idle else TaskSharing(name, lambda: self.now)

    def go(self, name: str) -> None:
        del self.recorders[name]
        self.holders = {id_: "" if owner == name else owner for id_, owner in self.holders.items()}

    def passes(self, n: int) -> int:
        """Let that many passes go by; gives how many tasks were handed over."""
        given = 0
        for _ in range(n):
            self.now += 0.5
            for name, sharing in self.recorders.items():
                if sharing is None:
                    continue
                seen = dict(self.holders)
                for id_ in sharing.to_hand_over(seen, len(self.recorders)):
                    given += 1
                    self.holders[id_] = ""
                for id_ in sharing.to_take(seen, len(self.recorders)):
                    self.holders[id_] = self.holders[id_] or name
        return given

    @property
    def spread(self) -> int:
        assert "" not in self.holders.values()
        counts = Counter(self.holders.values())
        all_ = [counts[name] for name, sharing in self.recorders.items() if sharing]
        return max(all_) - min(all_)


events = st.lists(
    st.tuples(st.sampled_from(["tasks", "come", "go", "end"]), st.integers(1, 25), st.integers(0, 4)), max_size=12
)


@given(events)
def test_recorders_always_reach_even_shares(happens: list[tuple[str, int, int]]) -> None:
    store, last = Store(), 0
    store.come("r0")
    for number, (what, n, pause) in enumerate(happens, 1):
        if what == "tasks":
            store.holders |= dict.fromkeys(range(last, last + n), "")
            last += n
        elif what == "come" and len(store.recorders) < 5:
            store.come(f"r{number}")
        elif what == "go" and len(store.recorders) > 1:
            store.go([*store.recorders][n % len(store.recorders)])
        elif what == "end":
            store.holders = dict([*store.holders.items()][n:])
        store.passes(pause)
    store.passes(150)
    assert store.spread <= 1
    assert store.passes(20) == 0, "and then nothing moves any more"


def test_a_task_that_no_other_recorder_takes_is_taken_back() -> None:
    store = Store()
    store.come("a")
    store.come("idle", idle=True)
    store.holders = dict.fromkeys(range(10), "")
    store.passes(1)
    assert Counter(store.holders.values())["a"] == 5, "half is its share"
    assert store.passes(5 * int(LEAVE_S / 0.5)) == 2, "it hands some over, once"
    assert Counter(store.holders.values())["a"] == 10
    assert 0 < store.passes(2 * 60) < 5, "it tries again with one: somebody may have come"
    assert 0 < store.passes(2 * 1200) < 8, "and ever more rarely"


def test_a_recorder_that_is_slow_at_first_soon_has_its_share() -> None:
    store = Store()
    store.come("a")
    store.holders = dict.fromkeys(range(10), "")
    store.passes(5)
    store.come("slow", idle=True)  # it lives, and has not got round to taking any
    store.passes(2 * 5)
    store.come("slow")
    store.passes(2 * 20)
    assert store.spread <= 1


def test_in_a_store_that_has_just_been_emptied_there_is_nothing_to_share() -> None:
    sharing = TaskSharing("a")
    assert sharing.to_hand_over({}, 0) == [] == sharing.to_take({}, 0), "not even our own heartbeat is there"


async def test_a_recorder_with_another_selection_has_no_share(store: RealStore) -> None:
    """What is selected would wait for recorders that never take it."""
    cluster: Any = type("Api", (), {"id": CLUSTER})()
    team = Selection(cluster, store, namespaces=("ml",), selector="team=vision")
    ids = [store.open(CLUSTER, TaskRef("ml", "job", str(i)), str(i)) for i in range(9)]
    for name in ("user", "another user"):
        store.beat(recorder(name))
    store.beat(
        replace(
            recorder("another team"), selection=Selection(cluster, store, namespaces=("ml",), selector="team=nlp").name
        )
    )
    assert store.lease(ids[0], "user")
    taken = await Recorder(store, cluster, selection=team)._share({*ids}, set())
    assert {*taken} == {*ids[1:]}, "at once"
    store.beat(replace(recorder("colleague"), selection=team.name))
    assert len(await Recorder(store, cluster, selection=team)._share({*ids}, set())) == 4
