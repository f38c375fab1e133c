"""The parts of a recording (source, entry, batch), and the codec of a batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NotRequired, TypedDict

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.model.cursor import Epochs

#: The streams of lines; a batch's column `o` holds indices in this tuple. Before version 1.32, Kubernetes reports no stream.
STREAMS: Final = ("unknown", "stdout", "stderr")
#: Where a source stands in its task. Documents leave these fields out when they are empty, as in most Jobs.
MEMBERSHIP: Final = ("role", "rank", "attempt")


class PublicSource(TypedDict):
    """What readers get of a source, in the `sources` of a batch."""

    pod: str
    container: str
    kind: NotRequired[str]
    run: NotRequired[int]
    node: NotRequired[str]
    role: NotRequired[str]
    rank: NotRequired[str]
    attempt: NotRequired[str]


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
    part : int
        0 for the lines that the recorder follows, 1 for older lines that it backfills, 2 for lines that a follow
        skipped.
    role, rank, attempt : str
        Where the source stands in its task, as `cluster.kinds.membership` reads it from the pod: `worker`, `3`, `0`. Empty if
        the pod does not show it.

    Notes
    -----
    Kind, run, node, role, rank and attempt do not count when sources are compared. They may change in the Pod object while the
    run lasts, and the recorder must not read the run a second time for that.
    """

    pod: str
    pod_uid: str
    container: str
    container_id: str
    kind: str = field(default="main", compare=False)
    run: int = field(default=0, compare=False)
    node: str = field(default="", compare=False)
    part: int = 0
    role: str = field(default="", compare=False)
    rank: str = field(default="", compare=False)
    attempt: str = field(default="", compare=False)

    def is_same_run(self, source: Source) -> bool:
        """Return whether both are the same run of a container, or parts of it."""
        return replace(self, part=0) == replace(source, part=0)

    @property
    def public(self) -> PublicSource:
        """The fields that readers get, in the `sources` of a batch."""
        public: PublicSource = {
            "pod": self.pod,
            "container": self.container,
            "kind": self.kind,
            "run": self.run,
            "node": self.node,
        }
        if self.role:
            public["role"] = self.role
        if self.rank:
            public["rank"] = self.rank
        if self.attempt:
            public["attempt"] = self.attempt
        return public

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a store keeps them, so that `Source(**fields)` is this source again."""
        return {name: value for name, value in asdict(self).items() if value or name not in MEMBERSHIP}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Source:
        """Return the source that a store keeps. A newer version may have written fields that this one does not know."""
        return cls(**{name: document[name] for name in cls.__slots__ if name in document})


@dataclass(slots=True)
class Entry:
    """The unit of storage and transport: one notice, or one batch of records.

    Parameters
    ----------
    seq : int
        Number of the first record, from 1.
    n : int
        How many numbers the entry takes: one for each record of a batch, 1 for a notice.
    event : str
        The SSE event: `log`, `status`, `gap` or `end`.
    t_min, t_max : int
        Earliest and latest time in the entry (ns since the Unix epoch). The times within are not ordered.
    data : bytes
        The JSON of the event's `data:`.
    epochs : tuple, optional
        The epochs of its recording, if the entry was read from a store.
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
        """Whether this is an event of Kubernetes; only readers with the right `list events` may see those."""
        return self.event == "status" and orjson.loads(self.data).get("notice") == "event"


class IndexEntry(NamedTuple):
    """An entry in the index of a recording: what an `Entry` has beside its data."""

    seq: int
    n: int
    event: str
    t_min: int
    t_max: int

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.seq + self.n - 1


@dataclass(slots=True)
class Batch:
    """The columns of one `log` event (docs/reference/http.md, Events of a stream), decoded.

    Parameters
    ----------
    task : str
        The task's key.
    seqs, times, sids, streams : list of int
        Of each record: number, time (ns since the Unix epoch), id in `sources`, index in `STREAMS`.
    texts : list of str
    sources : dict
        Source id to `Source.public`.
    """

    task: str
    seqs: list[int]
    times: list[int]
    sids: list[int]
    streams: list[int]
    texts: list[str]
    sources: dict[int, PublicSource]

    def __len__(self) -> int:
        return len(self.seqs)

    @classmethod
    def decode(cls, data: bytes) -> Batch:
        """Decode a batch from its JSON.

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

    def take(self, positions: list[int]) -> Batch:
        """Return a batch of the records at these positions; they keep their numbers."""
        used = {self.sids[i] for i in positions}
        return Batch(
            self.task,
            [self.seqs[i] for i in positions],
            [self.times[i] for i in positions],
            [self.sids[i] for i in positions],
            [self.streams[i] for i in positions],
            [self.texts[i] for i in positions],
            {k: v for k, v in self.sources.items() if k in used},
        )

    def encode(self) -> bytes:
        """Encode the batch as JSON. A column `q` holds offsets from `seq` if numbers are missing."""
        first = self.seqs[0]
        is_gapless = self.seqs[-1] - first + 1 == len(self.seqs)
        offsets = None if is_gapless else [s - first for s in self.seqs]
        return encode_batch(self.task, first, self.times, self.sids, self.streams, self.texts, self.sources, offsets)


def encode_batch(
    task: str,
    seq: int,
    times: list[int],
    sids: list[int],
    streams: list[int] | None,
    texts: list[str],
    sources: dict[int, PublicSource],
    offsets: list[int] | None = None,
) -> bytes:
    """Encode records as the data of one `log` event.

    Parameters
    ----------
    task : str
    seq : int
        Number of the first record.
    times, sids, streams, texts : list
        The columns. None for `streams` means unknown streams.
    sources : dict
        The sources that occur, by id.
    offsets : list of int, optional
        Each record's number minus `seq`, if a filter has removed records.

    Returns
    -------
    bytes
        JSON without a line break, so it fits one `data:` line.

    Notes
    -----
    JavaScript cannot hold times in ns exactly (2^53), so `t0` is a string and the column `dt` holds differences. Why
    columns: docs/explanation/architecture.md, Sending.
    """
    t0 = times[0]
    doc: dict[str, Any] = {
        "task": task,
        "seq": seq,
        "sources": {str(k): v for k, v in sources.items()},
        "t0": str(t0),
        "dt": [t - t0 for t in times],
        "s": sids,
        "o": [0] * len(sids) if streams is None else streams,
        "m": texts,
    }
    if offsets is not None:
        doc["q"] = offsets
    return orjson.dumps(doc)


def notice(task: str, seq: int, time: int, event: str, message: str, **fields: object) -> Entry:
    """Return the entry of one notice.

    Parameters
    ----------
    task : str
    seq : int
    time : int
        ns since the Unix epoch.
    event : str
        `status`, `gap` or `end`.
    message : str
        The text that readers see.
    **fields
        More fields of the event's data; a field that is None is left out.
    """
    doc = {"task": task, "seq": seq, "time": str(time), "message": message}
    doc |= {k: v for k, v in fields.items() if v is not None}
    return Entry(seq, 1, event, time, time, orjson.dumps(doc))
