"""The metrics of a whole recording, thinned out so that a chart still looks the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from server.fake_recorder import T0
from server.running import logs

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server

S = 10**9


def series_of(events: Any) -> dict[tuple[str, str], list[tuple[int, float | None, float | str, int]]]:
    """Return (time, step, value, seq) by name and pod, in the order of time."""
    points: dict[tuple[str, str], list[Any]] = {}
    for one in (one for e in events if e.event == "points" for one in json.loads(e.data)["series"]):
        rows = zip(one["time"], one["step"], one["value"], one["seq"], strict=True)
        points.setdefault((one["name"], one["pod"]), []).extend(rows)
    return {key: sorted(set(rows)) for key, rows in points.items()}


async def test_metrics_have_the_values_and_places_of_their_lines(server: Server, fake_recorder: FakeRecorder) -> None:
    a, b = fake_recorder.source(), fake_recorder.source(pod="train-2")
    fake_recorder.write([(T0, a, "Epoch 1/5"), (T0 + S, a, "loss=0.5"), (T0 + S, b, "rank=1 step=7 loss=0.25")])
    fake_recorder.write([(T0 + 2 * S, a, "loss=nan"), (T0 + 3 * S, a, "loss=inf acc=90%"), (T0 + 3 * S, b, "nothing")])
    fake_recorder.end()
    events = await server.events(logs(fake_recorder.ref.name, "metrics"))
    points = series_of(events)
    by_text = {text: (t, seq) for seq, t, _, text in fake_recorder.lines}
    at = lambda text: by_text[text]  # noqa: E731
    own, other = at("loss=0.5"), at("rank=1 step=7 loss=0.25")
    assert points["loss", "train-2"] == [(other[0], 7, 0.25, other[1])]
    pod = next(pod for _, pod in points if pod != "train-2")
    assert points["loss", pod][0] == (own[0], 1, 0.5, own[1]), "the step is not the epoch of an earlier batch"
    assert [row[2] for row in points["loss", pod]] == [0.5, "nan", "inf"] and ("acc", pod) in points
    last = json.loads(events[-1].data)
    assert (events[-1].event, last) == ("done", {"looked": 6, "lines": 6, "left_out": 0})


async def test_thinning_keeps_the_extremes(server: Server, fake_recorder: FakeRecorder) -> None:
    source = fake_recorder.source()
    values = [((i * 7919) % 10_007) / 100 for i in range(20_000)]
    values[12_345], values[54] = 5000.0, -1.0
    for first in range(0, 20_000, 4000):
        fake_recorder.write([(T0 + i * S, source, f"step={i} loss={values[i]}") for i in range(first, first + 4000)])
    fake_recorder.end()
    [rows] = series_of(await server.events(logs(fake_recorder.ref.name, "metrics"))).values()
    assert len(rows) < 2500
    kept = {int(step or 0): value for _, step, value, _ in rows}
    assert {0, 54, 12_345, 19_999} <= kept.keys() and all(values[step] == value for step, value in kept.items())


async def test_too_many_metric_names_are_counted_and_not_sent(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.write(
        [
            (T0 + i * S, fake_recorder.source(), json.dumps({f"key{'abcdefghij'[i % 10]}{chr(97 + i // 10)}": i}))
            for i in range(250)
        ]
    )
    fake_recorder.end()
    events = await server.events(logs(fake_recorder.ref.name, "metrics"))
    assert len(series_of(events)) == 100 and json.loads(events[-1].data)["left_out"] == 150


@pytest.mark.parametrize("lines", [[], [(T0, "no numbers here")]])
async def test_a_log_without_numbers_has_no_points(
    server: Server, fake_recorder: FakeRecorder, lines: list[tuple[int, str]]
) -> None:
    if lines:
        fake_recorder.write([(t, fake_recorder.source(), text) for t, text in lines])
    fake_recorder.end()
    events = await server.events(logs(fake_recorder.ref.name, "metrics"))
    assert not series_of(events) and events[-1].event == "done"


def test_an_unknown_parameter_is_an_error(server: Server, completed: FakeRecorder) -> None:
    status, error = server.error(logs(completed.ref.name, "metrics"), since="1m")
    assert (status, error["code"]) == (400, "BadQuery")
