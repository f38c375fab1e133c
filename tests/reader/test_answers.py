"""Simultaneous readers share the answers of worker processes; few run at once, and each ends with its last reader."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.reader import answers
from cortex_jupyter.reader.answers import Answers
from cortex_jupyter.reader.process import EndedEarlyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Processes:
    """Replaces real processes: each writes what the test puts into `words`."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.running = 0
        self.most = 0
        self.words: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def output(self, _module: str, ask: dict[str, Any], _deaf_s: float) -> AsyncGenerator[bytes]:
        self.begun.append(ask)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            while (word := await self.words.get()) is not None:
                if word == b"!":
                    raise EndedEarlyError
                yield word
        finally:
            self.running -= 1


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    made = Processes()
    monkeypatch.setattr(answers, "output", made.output)
    return made


async def read(all_of: Answers, recording: int = 1, upto: int = 5) -> bytes:
    return b"".join([piece async for piece in all_of.read("module", {"recording": recording}, 1.0, upto)])


async def until(what: Any) -> None:
    async with asyncio.timeout(120):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_readers_who_ask_at_the_same_time_share_one_answer_from_its_beginning(processes: Processes) -> None:
    all_of = Answers()
    first = asyncio.create_task(read(all_of))
    processes.words.put_nowait(b"a" * 300_000)
    await until(lambda: processes.words.empty() and processes.running)
    rest = [asyncio.create_task(read(all_of)) for _ in range(10)]
    processes.words.put_nowait(b"b")
    processes.words.put_nowait(None)
    assert {await one for one in (first, *rest)} == {b"a" * 300_000 + b"b"}
    assert len(processes.begun) == 1
    processes.words.put_nowait(None)
    assert await read(all_of) == b"" and len(processes.begun) == 2, (
        "a finished answer is given again, although there may be new lines"
    )


async def test_an_outdated_answer_is_not_shared_and_the_next_one_waits_for_it(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_FRESH_S", 0.0)
    all_of = Answers()
    one, same, later = (asyncio.create_task(read(all_of, upto=upto)) for upto in (5, 5, 6))
    for word in (b"old", None, b"new", None):
        processes.words.put_nowait(word)
    assert [await each for each in (one, same, later)] == [b"old", b"old", b"new"]
    assert processes.most == 1


async def test_only_two_processes_run_at_once(processes: Processes) -> None:
    all_of = Answers()
    tasks = [asyncio.create_task(read(all_of, recording)) for recording in range(6)]
    await until(lambda: processes.running == 2)
    for _ in tasks:
        processes.words.put_nowait(None)
    await asyncio.gather(*tasks)
    assert (len(processes.begun), processes.most) == (6, 2)


async def test_a_process_ends_with_its_last_reader_and_the_next_question_starts_another(processes: Processes) -> None:
    all_of = Answers()
    tasks = [asyncio.create_task(read(all_of)) for _ in range(2)]
    await until(lambda: processes.running)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert processes.running == 1
    tasks[1].cancel()
    again = asyncio.create_task(read(all_of))
    processes.words.put_nowait(None)
    assert await again == b"" and len(processes.begun) == 2
    assert processes.running == 0


async def test_a_failing_process_fails_for_all_its_readers(processes: Processes) -> None:
    all_of = Answers()
    tasks = [asyncio.create_task(read(all_of)) for _ in range(3)]
    processes.words.put_nowait(b"!")
    assert [type(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == [EndedEarlyError] * 3
    async with aclosing(all_of.read("module", {"recording": 1}, 1.0, 5)) as pieces:
        processes.words.put_nowait(b"well")
        assert await anext(pieces) == b"well"
