"""Recorders share tasks evenly as they come and go. Each decides alone, from the state of the store."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from support.hand import CLUSTER, recorder

from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.collector.sharing import LEAVE_S, Plan, Situation, TaskSharing, make_plan
from cortex_jupyter.recorder.recorder import Recorder

if TYPE_CHECKING:
    from cortex_jupyter.store import Store as RealStore


class Store:
    """A store's holders of tasks. Its recorders make their plans in turn, twice a second."""

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
        """Let each recorder plan `n` times; return how many tasks were handed over."""
        handed_over = 0
        for _ in range(n):
            self.now += 0.5
            for name, sharing in self.recorders.items():
                if sharing is None:
                    continue
                seen = dict(self.holders)
                mine = [id_ for id_, owner in seen.items() if owner == name]
                plan = sharing.plan(seen, len(self.recorders), running=mine)
                for id_ in plan.hand_over:
                    handed_over += 1
                    self.holders[id_] = ""
                for id_ in plan.take:
                    self.holders[id_] = self.holders[id_] or name
        return handed_over

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
    assert store.passes(20) == 0, "tasks are still handed over although the shares are even"


def test_a_task_that_no_other_recorder_takes_is_taken_back() -> None:
    store = Store()
    store.come("a")
    store.come("idle", idle=True)
    store.holders = dict.fromkeys(range(10), "")
    store.passes(1)
    assert Counter(store.holders.values())["a"] == 5, "it does not have its share, which is half of the tasks"
    assert store.passes(5 * int(LEAVE_S / 0.5)) == 2, "it does not hand over tasks exactly once"
    assert Counter(store.holders.values())["a"] == 10
    assert 0 < store.passes(2 * 60) < 5, "it does not try again with single tasks, in case a recorder takes tasks now"
    assert 0 < store.passes(2 * 1200) < 8, "it does not try ever more rarely"


def test_a_recorder_that_is_slow_at_first_soon_has_its_share() -> None:
    store = Store()
    store.come("a")
    store.holders = dict.fromkeys(range(10), "")
    store.passes(5)
    store.come("slow", idle=True)  # it has a heartbeat, but takes no tasks yet
    store.passes(2 * 5)
    store.come("slow")
    store.passes(2 * 20)
    assert store.spread <= 1


def test_in_a_store_that_has_just_been_emptied_there_is_nothing_to_share() -> None:
    sharing = TaskSharing("a")
    assert sharing.plan({}, 0, running=[]) == Plan(), (
        "a plan was made although the store has not even our own heartbeat"
    )


def situation(holders: dict[int, str], recorders: int, **known: Any) -> Situation:
    running = known.pop("running", {id_ for id_, owner in holders.items() if owner == "a"})
    return Situation("a", holders, recorders, running=running, **known)


def test_above_its_share_a_recorder_takes_only_what_has_been_free_for_long() -> None:
    holders = {1: "a", 2: "a", 3: "", 4: ""}
    assert make_plan(situation(holders, 2)) == Plan()
    assert make_plan(situation(holders, 2, overdue={4})) == Plan(take=(4,))


def test_what_a_recorder_has_just_handed_over_is_left_to_the_others() -> None:
    holders = {1: "b", 2: "", 3: "", 4: "b"}
    assert {*make_plan(situation(holders, 2)).take} == {2, 3}
    assert make_plan(situation(holders, 2, offered={3})).take == (2,)
    assert {*make_plan(situation(holders, 2, offered={3}, overdue={3})).take} == {2, 3}, (
        "an overdue task that was handed over is not taken back"
    )


def test_a_task_that_failed_here_is_taken_again_and_never_handed_over() -> None:
    holders = dict.fromkeys(range(8), "a")
    assert make_plan(situation(holders, 2, running={0, 1, 2, 3, 4, 5, 6})) == Plan(take=(7,))
    assert make_plan(situation({1: "a", 2: "b"}, 2, running=set())) == Plan(take=(1,))


def test_nothing_is_handed_over_while_a_task_is_free_or_after_a_failed_attempt() -> None:
    holders = dict.fromkeys(range(16), "a")
    assert make_plan(situation(holders, 2)).hand_over == (15, 14)
    assert make_plan(situation(holders, 2, max_hand_over=1)).hand_over == (15,)
    assert make_plan(situation(holders, 2, max_hand_over=0)).hand_over == ()
    assert make_plan(situation(holders | {16: ""}, 2)).hand_over == ()


@given(
    st.dictionaries(st.integers(0, 30), st.sampled_from(["", "a", "b", "c"])),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
)
def test_a_plan_contains_only_our_own_and_free_tasks(
    holders: dict[int, str], stopped: set[int], offered: set[int], overdue: set[int]
) -> None:
    mine = {id_ for id_, owner in holders.items() if owner == "a"}
    free = {id_ for id_, owner in holders.items() if not owner}
    plan = make_plan(situation(holders, 3, running=mine - stopped, offered=offered, overdue=overdue))
    assert len({*plan.take, *plan.hand_over}) == len(plan.take) + len(plan.hand_over)
    assert {*plan.take} & mine == mine & stopped and {*plan.take} <= free | mine
    assert {*plan.hand_over} <= mine - stopped and not (free and plan.hand_over)
    share = len(holders) / 3
    assert len({*plan.take} & free - overdue) <= max(0.0, share + 1 - len(mine)), "it takes more than its share at once"
    assert free & overdue <= {*plan.take}, "an overdue free task is not taken"
    assert len(mine) - len(plan.hand_over) >= min(share, len(mine))


async def test_a_recorder_with_another_selection_has_no_share(store: RealStore) -> None:
    """Otherwise selected tasks would wait for recorders that never take them."""
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
    taken = await Recorder(store, cluster, selection=team)._plan_sharing(team, {*ids})
    assert {*taken.take} == {*ids[1:]}, "not all free tasks are taken at once"
    store.beat(replace(recorder("colleague"), selection=team.name))
    assert len((await Recorder(store, cluster, selection=team)._plan_sharing(team, {*ids})).take) == 4
