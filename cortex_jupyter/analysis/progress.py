"""Find how far each container is: the newest state of its progress bars, and of `epoch 3/10` in its lines."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import Batch
from cortex_jupyter.parsing.progress import Progress, progress
from cortex_jupyter.store.scan import Scan
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints, Texts
    from cortex_jupyter.store import Readable

#: Text in lines that may show a progress bar (`parsing.progress`), in RE2's syntax: it preselects lines.
_BAR: Final = r"%\||━|\d/\d+ \[[=>.]|%\] in |it \[|/s\]"
#: A count towards a total, such as `epoch 3/10`.
_COUNTED: Final = re.compile(
    r"(?i)(?<![\w/])(epoch|step|iteration|iter|batch|shard|part|file|round|fold|trial|chunk|task)s?[\s:=#]*\[?\s*(\d{1,12})\s*(?:/|of)\s*(\d{1,12})\b(?!/)"
)
#: Text in lines that may hold a count, in RE2's syntax: it preselects lines.
_LIKELY: Final = (
    r"(?i:epoch|step|iter|batch|shard|part|file|round|fold|trial|chunk|task)s?[ :=#]*\[? *[0-9]+ *(?:/|of) *[0-9]"
)
#: For a list of tasks, this many of each task's newest lines are read, and the earlier lines of the same entries.
_GLANCE: Final = 300
#: This many are read if those show only finished bars, such as an evaluation's within a training.
_LOOK_BACK: Final = 6000
#: Number of newest candidate lines that are examined of each container; of earlier ones, the last of each shape.
_NEWEST: Final = 2000


@dataclass(frozen=True, slots=True)
class _State:
    """The newest state of a bar.

    Parameters
    ----------
    bar : Progress
    row : int
    is_running : bool
        It is not finished, and no later bar of the container has its label.
    length_s : float
        How long the bar runs, as far as it is known (seconds). Of nested bars the outer one runs longer.
    """

    bar: Progress
    row: int
    is_running: bool
    length_s: float


def progress_bars(table: pa.Table) -> pa.Table:
    """Find how far each container is.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.

    Returns
    -------
    pyarrow.Table
        `pod`, `container`, `label`, `step`, `total`, `fraction` (0 to 1), `rate` (per second), `unit`, `elapsed`,
        `remaining` (seconds), `time` (of the newest state), `seq`; one row per bar. Running bars come first; then the
        finished ones, and the ones that a later bar of the same label has replaced. Within each group, the newest comes first.
    """
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    states: list[tuple[_State, dict[str, Any]]] = []
    if table.num_rows:
        text = table["text"]
        looks = [pc.match_substring_regex(text, pattern).to_numpy() for pattern in (_BAR, _LIKELY)]
        likely = np.flatnonzero(looks[0] | looks[1])
        pods, pod_names = coded(table["pod"])
        containers, container_names = coded(table["container"])
        times = table["time"].cast(pa.int64()).to_numpy()
        key = (pods * len(container_names) + containers)[likely]
        for source in np.unique(key).tolist():
            candidates = likely[key == source]
            where = {
                "pod": pod_names[source // len(container_names)],
                "container": container_names[source % len(container_names)],
            }
            newest = [*_last_of_each_shape(text, candidates[:-_NEWEST]), *candidates[-_NEWEST:].tolist()]
            lines = text.take(pa.array(newest)).to_pylist()
            states += [(state, _row(where, state, table)) for state in _newest(lines, newest, times)]
    states.sort(key=lambda state: (not state[0].is_running, -state[1]["seq"]))
    kinds = [
        ("pod", pa.string()),
        ("container", pa.string()),
        ("label", pa.string()),
        ("step", pa.float64()),
        ("total", pa.float64()),
        ("fraction", pa.float64()),
        ("rate", pa.float64()),
        ("unit", pa.string()),
        ("elapsed", pa.float64()),
        ("remaining", pa.float64()),
        ("time", pa.timestamp("us", "UTC")),
        ("seq", pa.int64()),
    ]
    return pa.Table.from_pylist([row for _, row in states], schema=pa.schema(kinds))


def _last_of_each_shape(text: Texts, rows: Ints) -> list[int]:
    """Return the last rows whose texts differ in more than numbers: an outer bar may be far above its inner one's lines."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    shape = shapes(text.take(pa.array(rows))).shape
    _, last = np.unique(shape[::-1], return_index=True)
    last_rows: list[int] = np.sort(rows[::-1][last])[-_NEWEST:].tolist()
    return last_rows


def latest_progress(store: Readable, recording: int, last: int, *, look_back: bool = True) -> dict[str, Any] | None:
    """Return how far a task is by its very last lines, without reading the rest of its log and without pyarrow.

    Parameters
    ----------
    store : Store
    recording : int
    last : int
        The recording's newest number.
    look_back : bool, optional
        Read thousands of earlier lines if the last ones show only finished bars. That takes up to half a second.

    Returns
    -------
    dict or None
        The fields of one `Progress`. Each container is represented by its bar that runs longest; the result is the bar
        with the lowest fraction among them. A finished bar counts only if none runs. None if no bar has a fraction, or
        if only a look back would tell whether one runs.
    """
    states = _states_of_last(store, recording, last, _GLANCE)
    if states and not any(state.is_running for state in states):
        if not look_back:
            return None
        states = _states_of_last(store, recording, last, _LOOK_BACK)
    chosen = [state for state in states if state.is_running] or states
    return asdict(min(chosen, key=lambda state: state.bar.fraction or 0.0).bar) if chosen else None


def _states_of_last(store: Readable, recording: int, last: int, count: int) -> list[_State]:
    """Return the outer bar of each container, by a recording's last lines: the one that runs longest."""
    lines: dict[tuple[str, str], list[tuple[str, int]]] = {}
    with suppress(CursorNotHeld):  # the recording leaves the store
        for part in Scan(store, recording, after=max(0, last - count), upto=last).parts():
            if part.entry.event == "log":
                batch = Batch.decode(part.entry.data)
                for at, sid, text in zip(batch.times, batch.sids, batch.texts, strict=True):
                    source = batch.sources[sid]
                    lines.setdefault((source["pod"], source["container"]), []).append((text, at))
    outer = []
    for container_lines in lines.values():
        times = [at for _, at in container_lines]
        texts = [text for text, _ in container_lines]
        states = [state for state in _newest(texts, list(range(len(texts))), times) if state.bar.fraction is not None]
        if states:
            outer.append(max(states, key=lambda state: (state.is_running, state.length_s, -(state.bar.fraction or 0))))
    return outer


def _newest(lines: list[str], rows: list[int], times: Sequence[int] | Ints) -> list[_State]:
    """Return the newest state of each bar of a container. Bars differ by label and total."""
    newest: dict[tuple[str, float | None], tuple[Progress, int]] = {}
    counted: dict[tuple[str, float], list[tuple[float, float, int]]] = {}
    first: dict[tuple[str, float | None], int] = {}
    for text, row in zip(reversed(lines), reversed(rows), strict=True):
        if (bar := progress(text)) is not None:
            newest.setdefault((bar.label, bar.total), (bar, row))
            first[bar.label, bar.total] = row
        elif match := _COUNTED.search(text):
            name, step, total = match[1].lower(), float(match[2]), float(match[3])
            if total > 0 and step <= total:
                counted.setdefault((name, total), []).append((step, times[row] / 1e9, row))
                first[name, total] = row
    bars = [*newest.items(), *((key, _paced(*key, states)) for key, states in counted.items())]
    last = {bar.label: row for _, (bar, row) in sorted(bars, key=lambda item: item[1][1])}
    return [
        _State(
            bar,
            row,
            (bar.fraction or 0.0) < 1 and last[bar.label] == row,
            max(bar.elapsed or 0.0, (times[row] - times[first[key]]) / 1e9),
        )
        for key, (bar, row) in bars
    ]


def _paced(name: str, total: float, states: list[tuple[float, float, int]]) -> tuple[Progress, int]:
    """Return the state of a count such as `epoch 3/10`.

    The rate covers only the current pass: from the line where the count last started over to the newest line.
    """
    step, now, row = states[0]
    first, began = step, now
    for earlier, at, _ in states:
        if earlier > first:  # an earlier pass
            break
        first, began = earlier, at
    rate = (step - first) / (now - began) if now > began and step > first else None
    remaining = (total - step) / rate if rate else 0.0 if step >= total else None
    return Progress(name, step / total, step, total, rate, name, None, remaining), row


def _row(where: dict[str, Any], state: _State, table: pa.Table) -> dict[str, Any]:
    bar, row = state.bar, state.row
    us = import_optional("pyarrow").timestamp("us", "UTC")
    return where | {
        "label": bar.label,
        "step": bar.step,
        "total": bar.total,
        "fraction": bar.fraction,
        "rate": bar.rate,
        "unit": bar.unit,
        "elapsed": bar.elapsed,
        "remaining": bar.remaining,
        "time": table["time"][row].cast(us, safe=False).as_py(),
        "seq": table["seq"][row].as_py(),
    }
