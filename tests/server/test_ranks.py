"""The ranks of a whole recording, as strips of their progress over time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from server.fake_recorder import T0
from server.running import logs

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server

S = 10**9


async def test_each_rank_has_a_strip_and_a_hang_has_its_message(server: Server, fake_recorder: FakeRecorder) -> None:
    sources = [fake_recorder.source(f"w-{rank}", role="worker", rank=str(rank)) for rank in range(4)]
    for step in range(200):
        at_work = [(rank, source) for rank, source in enumerate(sources) if rank != 2 or step < 199]
        fake_recorder.write([(T0 + 2 * step * S + rank, source, f"step {step} loss=0.5") for rank, source in at_work])
    fake_recorder.write([(T0 + 1100 * S, sources[0], "ERROR gave up")])
    fake_recorder.end(1)
    events = await server.events(logs(fake_recorder.ref.name, "ranks"))
    assert [one.event for one in events if one.event != "progress"] == ["ranks", "done"], events[-1].data
    found: dict[str, Any] = next(json.loads(one.data) for one in events if one.event == "ranks")
    assert [one["name"] for one in found["ranks"]] == [f"worker-{rank}" for rank in range(4)]
    assert found["ranks"][2]["note"] == "behind" and found["ranks"][0]["label"].startswith("step 199, 2 s each")
    assert "usually every 2 s (p99 2 s); worker-2 had not reached step 199" in found["hang"]
    assert (found["from"], found["to"], found["left_out"]) == (T0, T0 + 1100 * S, 0)
    assert all(len(one["pace"]) == len(one["lag"]) and one["pod"].startswith("w-") for one in found["ranks"])
    pace = found["ranks"][0]["pace"]
    assert all(0.5 < share < 2 for share in pace[:5]) and pace[-1] is None
    assert found["ranks"][0]["error"] == 1 and found["ranks"][1]["error"] is None


async def test_a_task_without_lines_has_no_ranks(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.end()
    events = await server.events(logs(fake_recorder.ref.name, "ranks"))
    found = next(json.loads(one.data) for one in events if one.event == "ranks")
    assert (found["ranks"], found["hang"]) == ([], "")
