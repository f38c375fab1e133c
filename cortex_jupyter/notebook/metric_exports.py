"""Write the metrics of a log to TensorBoard or MLflow, each by its own library.

The export first reads the existing points and counts them by curve and time. So an interrupted call can be repeated: it
adds only the missing points.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    import pyarrow as pa

#: Pause between two looks for new lines of a running task (seconds).
_EVERY_S: Final = 1.0
#: Maximum share of the time that looking for new values may take.
_SHARE: Final = 0.2
#: Both libraries take whole numbers of 64 bits; a double holds whole numbers up to this one.
_MAX_STEP: Final = 2**53


class Point(NamedTuple):
    """A value of one curve.

    Parameters
    ----------
    curve : str
        The pod; and its rank if the pod's lines name several.
    is_first : bool
        Whether `curve` is the first of the log.
    name : str
    step : int
        That of the line; the number of the value in its curve if the line names none, or a part of an epoch.
    time : int
        In ns.
    value : float
    """

    curve: str
    is_first: bool
    name: str
    step: int
    time: int
    value: float


class Points:
    """The points of a growing table of metrics, each once, in the order of the table.

    Parameters
    ----------
    sink : Sink
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._seen: pa.Table | None = None
        self._forget()

    def _forget(self) -> None:
        self._first = ""
        self._ranks: dict[str, int | None] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        #: Curves with a step that is no whole number: their values are counted.
        self._counted: set[tuple[str, str]] = set()
        self._here: Counter[tuple[str, str, int]] = Counter()

    def write(self, table: pa.Table) -> int:
        """Write the points that the sink does not have, and return their number."""
        plain = table.select(["seq", "name", "value", "step", "time", "pod", "rank"])
        begin = self._common(plain)
        if begin == 0:
            self._forget()
        self._seen = plain
        return self._sink.write(point for point in self._read(plain.slice(begin)) if self._is_new(point))

    def _common(self, table: pa.Table) -> int:
        """Return how many rows were read before; 0 if earlier rows have changed, because then all are read again."""
        pa = import_optional("pyarrow")
        if self._seen is None or len(table) < len(self._seen):
            return 0
        before = table.slice(0, len(self._seen))
        same = all(
            pa.concat_arrays(before[name].chunks).equals(pa.concat_arrays(self._seen[name].chunks))
            if before[name].num_chunks and self._seen[name].num_chunks
            else before[name].equals(self._seen[name])
            for name in ("seq", "step", "rank")
        )
        return len(self._seen) if same else 0

    def _is_new(self, point: Point) -> bool:
        key, existing = self._sink.key(point), self._sink.existing(point)
        self._here[key] += 1
        is_new = self._here[key] > existing[key]
        existing[key] += is_new
        return is_new

    def _read(self, table: pa.Table) -> Iterator[Point]:
        pa = import_optional("pyarrow")
        columns = (table[name].to_pylist() for name in ("pod", "rank", "name", "step", "value"))
        times = table["time"].cast(pa.int64()).to_pylist()
        for pod, rank, name, step, value, at in zip(*columns, times, strict=True):
            first_rank = self._ranks.setdefault(pod, rank)
            curve = pod if rank == first_rank else f"{pod}-rank-{rank}"
            self._first = self._first or curve
            key = curve, name
            if step is None or not step.is_integer() or abs(step) > _MAX_STEP:
                self._counted.add(key)
            number = self._counts[key]
            self._counts[key] += 1
            yield Point(curve, curve == self._first, name, number if key in self._counted else int(step), at, value)


class Sink(Protocol):
    """Where points are written."""

    def key(self, point: Point) -> tuple[str, str, int]:
        """Return what tells points apart; points with equal keys are counted."""

    def existing(self, point: Point) -> Counter[tuple[str, str, int]]:
        """Return the number of existing points by key, at least for this point's curve. The caller adds the points it writes."""

    def write(self, points: Iterator[Point]) -> int:
        """Write points, and return their number."""

    def close(self) -> None:
        """Finish."""


class Source(Protocol):
    """A log with metrics."""

    def mark(self) -> tuple[int, bool]:
        """Return the number of the last record, and whether the log is complete."""


class Growing(Protocol):
    """Metrics that may grow: `notebook.metrics.Metrics`."""

    @property
    def sources(self) -> Sequence[Source]:
        """The logs."""

    def to_arrow(self) -> pa.Table:
        """Return the metrics as they were read."""

    def reread(self) -> Growing:
        """Return the metrics as they are now."""


def export(metrics: Growing, sink: Sink, *, follow: bool) -> int:
    """Write metrics until all is written; with `follow`, until the tasks have ended.

    Returns
    -------
    int
        Number of points that were added.
    """
    points, added = Points(sink), 0
    try:
        while True:
            marks = [source.mark() for source in metrics.sources]
            began = time.perf_counter()
            if follow:
                metrics = metrics.reread()
            added += points.write(metrics.to_arrow())
            if not follow or all(done for _, done in marks):
                return added
            pause = max(_EVERY_S, (time.perf_counter() - began) / _SHARE)
            while [source.mark() for source in metrics.sources] == marks:
                time.sleep(pause)
    finally:
        sink.close()


class TensorBoard:
    """Event files of TensorBoard: a run for each curve, in a folder of its name.

    Parameters
    ----------
    folder : str or path
    """

    #: Part of the names of our event files. The training itself may write other files into the folder.
    _SUFFIX: Final = ".cortex"

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._folder = Path(folder)
        self._writer = import_optional("tensorboard.summary.writer.event_file_writer").EventFileWriter
        self._event = import_optional("tensorboard.compat.proto.event_pb2").Event
        self._summary = import_optional("tensorboard.compat.proto.summary_pb2").Summary
        self._writers: dict[str, Any] = {}
        self._existing: dict[str, Counter[tuple[str, str, int]]] = {}

    def key(self, point: Point) -> tuple[str, str, int]:
        return point.curve, point.name, _microseconds(point.time / 1e9)

    def existing(self, point: Point) -> Counter[tuple[str, str, int]]:
        points = self._existing.get(point.curve)
        if points is None:
            points = self._existing[point.curve] = Counter(self._load(point.curve))
        return points

    def _load(self, curve: str) -> Iterator[tuple[str, str, int]]:
        loader = import_optional("tensorboard.backend.event_processing.event_file_loader").LegacyEventFileLoader
        for path in sorted(self._run(curve).glob(f"events.out.tfevents.*{self._SUFFIX}")):
            for event in loader(str(path)).Load():
                for value in event.summary.value:
                    yield curve, value.tag, _microseconds(event.wall_time)

    def _run(self, curve: str) -> Path:
        return self._folder / re.sub(r"[^\w.-]", "_", curve)

    def write(self, points: Iterator[Point]) -> int:
        added = 0
        for point in points:
            writer = self._writers.get(point.curve)
            if writer is None:
                path = str(self._run(point.curve))
                writer = self._writers[point.curve] = self._writer(path, filename_suffix=self._SUFFIX)
            value = self._summary.Value(tag=point.name, simple_value=point.value)
            summary = self._summary(value=[value])
            writer.add_event(self._event(wall_time=point.time / 1e9, step=point.step, summary=summary))
            added += 1
        for writer in self._writers.values():
            writer.flush()
        return added

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _microseconds(seconds: float) -> int:
    """Return a time that is the same before and after it was written: a double holds no nanoseconds."""
    return round(seconds * 1e6)


class Mlflow:
    """A run of MLflow.

    The metrics of the log's first curve keep their names. The names of other curves' metrics begin with the curve's name
    and `/`.

    Parameters
    ----------
    run_id : str or None
        Default: the active run; else the run that an earlier call made for this log; else a new one.
    label : str
        Names the log, for that.
    name : str
        The name of a new run.
    follow : bool
        Whether points will come for a while: a run of ours is then shown as running.
    """

    #: Maximum number of metrics that MLflow's API takes at once.
    _BATCH: Final = 1000
    #: The tag of a run of ours.
    _TAG: Final = "cortex_jupyter.log"

    def __init__(self, run_id: str | None, label: str, name: str, *, follow: bool) -> None:
        mlflow = import_optional("mlflow")
        self._metric = import_optional("mlflow.entities").Metric
        self._client = mlflow.MlflowClient()
        self._ours = False
        if run_id is None and (active := mlflow.active_run()) is not None:
            run_id = active.info.run_id
        if run_id is None:
            self._ours = True
            text = label.replace("'", "")
            runs = mlflow.search_runs(
                filter_string=f"tags.`{self._TAG}` = '{text}'", output_format="list", max_results=1
            )
            if runs:
                run_id = runs[0].info.run_id
            else:
                with mlflow.start_run(run_name=name, tags={self._TAG: text}) as run:
                    run_id = run.info.run_id
        self.run_id: str = run_id
        if self._ours and follow:
            self._client.update_run(run_id, status="RUNNING")
        self._existing: dict[str, Counter[tuple[str, str, int]]] = {}

    def _name(self, point: Point) -> str:
        """Return a name that MLflow allows."""
        name = point.name if point.is_first else f"{point.curve}/{point.name}"
        return re.sub(r"[^\w./ :-]", "_", name)[:250]

    def key(self, point: Point) -> tuple[str, str, int]:
        return "", self._name(point), point.time // 1_000_000

    def existing(self, point: Point) -> Counter[tuple[str, str, int]]:
        name = self._name(point)
        points = self._existing.get(name)
        if points is None:
            history = self._client.get_metric_history(self.run_id, name)
            points = self._existing[name] = Counter(("", name, metric.timestamp) for metric in history)
        return points

    def write(self, points: Iterator[Point]) -> int:
        added, batch = 0, []
        for point in points:
            batch.append(self._metric(self._name(point), point.value, point.time // 1_000_000, point.step))
            if len(batch) == self._BATCH:
                self._client.log_batch(self.run_id, metrics=batch)
                added, batch = added + len(batch), []
        if batch:
            self._client.log_batch(self.run_id, metrics=batch)
        return added + len(batch)

    def close(self) -> None:
        if self._ours:
            self._client.set_terminated(self.run_id)
