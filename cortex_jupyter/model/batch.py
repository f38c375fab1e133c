"""What a recording consists of, and the codec of a batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from cortex_jupyter.model.cursor import Epochs

#: The `o` column of a batch: where a line came from. Kubernetes does not say before 1.32.
STREAMS: Final = ("unknown", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Source:
    """One run of one container.

    Parameters
    ----------
    pod, pod_uid, container, container_id : str
    kind : str
        `init`, `main`, `sidecar` or `ephemeral`.
    run : int
        The container's restart count: 0 for the first run.
    node : str

    Notes
    -----
    Two are the same whose pod, container and container ID are: what else a Pod says of a run may change meanwhile,
    and the run must not be read a second time for that.
    """

    pod: str
    pod_uid: str
    container: str
    container_id: str
    kind: str = field(default="main", compare=False)
    run: int = field(default=0, compare=False)
    node: str = field(default="", compare=False)
    part: int = 0

    def of(self, other: Source) -> bool:
        """Tell whether this is the other, or a part of it."""
        return replace(self, part=0) == replace(other, part=0)

    @property
    def public(self) -> dict[str, Any]:
        """What a reader is told: the `sources` of a batch."""
        return {"pod": self.pod, "container": self.container, "kind": self.kind, "run": self.run, "node": self.node}

    def as_dict(self) -> dict[str, Any]:
        """Give every field, as a store keeps it."""
        return asdict(self)


@dataclass(slots=True)
class Entry:
    """The unit of storage and transport: one notice, or one batch of records.

    Parameters
    ----------
    seq : int
        Number of the first record, from 1.
    n : int
        How many numbers it takes: the records of a batch, 1 for a notice.
    event : str
        The SSE event: `log`, `status`, `gap` or `end`.
    t_min, t_max : int
        Earliest and latest time in it, ns since the epoch, UTC. Times within are not monotone.
    data : bytes
        The JSON of the event's `data:`.
    epochs : tuple, optional
        Those of its recording, where it was read from a store.
    """

    seq: int
    n: int
    event: str
    t_min: int
    t_max: int
    data: bytes
    epochs: Epochs = field(default=(), repr=False, compare=False)

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.seq + self.n - 1

    @property
    def is_kubernetes_event(self) -> bool:
        """Whether it is an event of Kubernetes, which may only be shown to a reader with the right `list events`."""
        return self.event == "status" and orjson.loads(self.data).get("notice") == "event"


@dataclass(slots=True)
class Batch:
    """The columns of one `log` event (DESIGN section 4.2), decoded.

    Parameters
    ----------
    task : str
        The task's key.
    seqs, times, sids, streams : list of int
        Number, ns since the epoch, id in `sources`, and index in `STREAMS` of each record.
    texts : list of str
    sources : dict
        Source id to what `Source.public` gives.
    """

    task: str
    seqs: list[int]
    times: list[int]
    sids: list[int]
    streams: list[int]
    texts: list[str]
    sources: dict[int, dict[str, Any]]

    def __len__(self) -> int:
        return len(self.seqs)

    @classmethod
    def decode(cls, data: bytes) -> Batch:
        """Read a batch's JSON.

        Examples
        --------
        >>> data = encode_batch("d:job/a", 7, [1_000, 1_500], [1, 1], None, ["x", "y"], {1: {"pod": "p"}})
        >>> batch = Batch.decode(data)
        >>> batch.seqs, batch.times, batch.texts
        ([7, 8], [1000, 1500], ['x', 'y'])
        """
        doc = orjson.loads(data)
        t0, first, texts = int(doc["t0"]), doc["seq"], doc["m"]
        seqs = [first + q for q in doc["q"]] if "q" in doc else list(range(first, first + len(texts)))
        sources = {int(k): v for k, v in doc["sources"].items()}
        return cls(doc["task"], seqs, [t0 + d for d in doc["dt"]], doc["s"], doc["o"], texts, sources)

    def take(self, keep: list[int]) -> Batch:
        """Give the batch of these positions only; numbers stay."""
        used = {self.sids[i] for i in keep}
        return Batch(
            self.task,
            [self.seqs[i] for i in keep],
            [self.times[i] for i in keep],
            [self.sids[i] for i in keep],
            [self.streams[i] for i in keep],
            [self.texts[i] for i in keep],
            {k: v for k, v in self.sources.items() if k in used},
        )

    def encode(self) -> bytes:
        """Write it again, with the column `q` (offsets after `seq`) where numbers are missing."""
        first = self.seqs[0]
        whole = self.seqs[-1] - first + 1 == len(self.seqs)
        offsets = None if whole else [s - first for s in self.seqs]
        return encode_batch(self.task, first, self.times, self.sids, self.streams, self.texts, self.sources, offsets)


def encode_batch(
    task: str,
    seq: int,
    times: list[int],
    sids: list[int],
    streams: list[int] | None,
    texts: list[str],
    sources: dict[int, dict[str, Any]],
    offsets: list[int] | None = None,
) -> bytes:
    """Encode records as the data of one `log` event.

    Parameters
    ----------
    task : str
    seq : int
        Number of the first record.
    times, sids, streams, texts : list
        The columns; `streams` may be None where no origin is known.
    sources : dict
        The sources that occur, by id.
    offsets : list of int, optional
        Where a filter left numbers out: each record's number less `seq`.

    Returns
    -------
    bytes
        JSON with no line breaks outside strings and none inside: it fits one `data:` line.

    Notes
    -----
    Columns of integers after a string `t0` are a quarter of the cost of an event per line, and JavaScript's numbers
    hold them exactly (`research/performance.md` section 3.1).
    """
    t0 = times[0]
    doc: dict[str, Any] = {
        "task": task, "seq": seq, "sources": {str(k): v for k, v in sources.items()}, "t0": str(t0),
        "dt": [t - t0 for t in times], "s": sids, "o": [0] * len(sids) if streams is None else streams, "m": texts,
    }  # fmt: skip
    if offsets is not None:
        doc["q"] = offsets
    return orjson.dumps(doc)


def notice(task: str, seq: int, time: int, event: str, message: str, **fields: Any) -> Entry:
    """Make the entry of one notice.

    Parameters
    ----------
    task : str
    seq : int
    time : int
        ns since the epoch.
    event : str
        `status`, `gap` or `end`.
    message : str
        What a person reads.
    **fields
        Further fields of the event's data; those that are None are left out.
    """
    doc = {"task": task, "seq": seq, "time": str(time), "message": message}
    doc |= {k: v for k, v in fields.items() if v is not None}
    return Entry(seq, 1, event, time, time, orjson.dumps(doc))
