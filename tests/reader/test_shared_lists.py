"""Pages that keep a list of tasks fresh share it, and cost little where a list takes long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cortex_jupyter.cluster.access import Person
from cortex_jupyter.errors import ClusterUnreachable, NotAllowed
from cortex_jupyter.reader import shared_lists as lib
from cortex_jupyter.reader.shared_lists import SharedLists


class Lists:
    """A session whose lists are counted, and whose time a test sets."""

    origin = "here"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.takes, self.count = 1000.0, 0.0, 0
        self.denied: set[Person | None] = set()
        self.error: Exception | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(lib, "list_tasks", self._list)
        self._shared = SharedLists()

    async def allow(self, namespace: str, person: Person | None) -> None:
        if person in self.denied:
            raise NotAllowed(namespace)

    async def _list(self, _: object, namespace: str, selector: str, person: Person | None) -> Any:
        self.count += 1
        number = self.count
        await asyncio.sleep(0)
        self.now += self.takes
        if self.error is not None:
            raise self.error
        return [{"task": f"{namespace} {selector} {person and person.name} {number}"}], None

    async def read(
        self, namespace: str = "ml", person: Person | None = None, max_age: float = 2.0
    ) -> tuple[str, float]:
        (rows, _), rest_s = await self._shared.read(self, namespace, "", person, max_age)  # type: ignore[arg-type]
        return rows[0]["task"], rest_s


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Lists:
    return Lists(monkeypatch)


async def test_pages_share_a_list_while_it_is_fresh(lists: Lists) -> None:
    answers = await asyncio.gather(*(lists.read() for _ in range(5)))
    assert {text for text, _ in answers} == {"ml  None 1"} and lists.count == 1
    lists.now += 1.5
    assert await lists.read() == ("ml  None 1", 0.5)
    lists.now += 1
    assert (await lists.read())[0] == "ml  None 2"


async def test_a_namespace_that_takes_long_is_listed_less_often(lists: Lists) -> None:
    lists.takes = 1.5
    assert await lists.read() == ("ml  None 1", 15.0)
    lists.now += 14
    assert (await lists.read())[0] == "ml  None 1"
    lists.now += 2
    lists.takes = 20.0
    assert await lists.read() == ("ml  None 2", 30.0)


async def test_no_list_is_shared_between_people_or_after_a_right_is_withdrawn(lists: Lists) -> None:
    ann, bob = Person("ann"), Person("bob")
    assert [(await lists.read(person=who))[0] for who in (ann, bob, ann)] == ["ml  ann 1", "ml  bob 2", "ml  ann 1"]
    lists.denied.add(ann)
    with pytest.raises(NotAllowed):
        await lists.read(person=ann)


async def test_a_failure_is_told_to_all_and_not_remembered(lists: Lists) -> None:
    lists.error = ClusterUnreachable("away")
    answers = await asyncio.gather(lists.read(), lists.read(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ClusterUnreachable] * 2 and lists.count == 1
    lists.error = None
    assert (await lists.read())[0] == "ml  None 2"
