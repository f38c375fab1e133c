"""The words of the design as types, and the codec of a batch; knows nothing else.

A *recording* is one gapless sequence of numbers (`seq`). Each number is either a record (a log line) or a notice
(a state, a start, an end, a gap). `Entry` is what a store keeps and what travels: one notice, or one *batch* of
records as columns. Its `data` is the JSON of one SSE event, encoded once by the recorder and forwarded as those bytes.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from cortex_jupyter.errors import BadQuery, CursorNotHeld

#: The `o` column of a batch: where a line came from. Kubernetes does not say before 1.32.
STREAMS: Final = ("unknown", "stdout", "stderr")

#: Kinds a task can be, lower case as in a task's key; `selector` is `-l app=x`.
KINDS: Final = ("job", "deployment", "statefulset", "daemonset", "replicaset", "cronjob", "pod", "selector")

_SHORT: Final = {"jobs": "job", "po": "pod", "pods": "pod", "deploy": "deployment", "deployments": "deployment"} | {
    "sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonsets": "daemonset",
    "rs": "replicaset", "replicasets": "replicaset", "cj": "cronjob", "cronjobs": "cronjob",
}  # fmt: skip

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ (DNS subdomain; a Pod's name may be 253 long)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task as a user names it: `[NAMESPACE:][KIND/]NAME`.

    Parameters
    ----------
    namespace : str
    kind : str
        One of `KINDS`, or `""` where the user gave a bare name: a Job, else the one other kind that has it.
    name : str
        For the kind `selector` a label selector.

    Examples
    --------
    >>> TaskRef.parse("ml:job/train-1")
    TaskRef(namespace='ml', kind='job', name='train-1')
    >>> TaskRef.parse("deploy/api", namespace="web").key
    'web:deployment/api'
    """

    namespace: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str, namespace: str = "default") -> TaskRef:
        """Read `[NAMESPACE:][KIND/]NAME` or `[NAMESPACE:]-l SELECTOR`.

        Parameters
        ----------
        text : str
        namespace : str
            What holds where `text` names none.

        Raises
        ------
        BadQuery
            `text` is no task reference.
        """
        head, colon, rest = text.strip().partition(":")
        space, body = (head, rest) if colon else (namespace, head)
        body = body.strip()
        if body.startswith(("-l ", "-l=", "selector/")):
            body = (body[3:] if body.startswith("-l") else body[len("selector/") :]).strip()
            if not body:  # it would select every pod of the namespace
                raise BadQuery(f"{text[:80]!r} selects nothing", "write a label, for instance -l app=train")
            return cls(_checked(space, text), "selector", body)
        kind, slash, name = body.rpartition("/")
        kind = _SHORT.get(kind.lower(), kind.lower())
        if slash and kind not in KINDS:
            raise BadQuery(f"{kind!r} in {text!r} is no kind of task", f"kinds are {', '.join(KINDS[:-1])}")
        return cls(_checked(space, text), kind, _checked(name, text))

    @property
    def key(self) -> str:
        """The one spelling that events, stores and URLs use."""
        return f"{self.namespace}:{self.kind}/{self.name}" if self.kind else f"{self.namespace}:{self.name}"

    @property
    def path(self) -> str:
        """The key as the path of the HTTP contract: `namespace/kind/name`."""
        return f"{self.namespace}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.key


def _checked(name: str, text: str) -> str:
    if not _NAME.match(name):
        raise BadQuery(
            f"{text[:80]!r} does not name a task", "write [NAMESPACE:][KIND/]NAME, for instance ml:job/train-1"
        )
    return name


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
    """

    seq: int
    n: int
    event: str
    t_min: int
    t_max: int
    data: bytes

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.seq + self.n - 1


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


def rfc3339(ns: int) -> str:
    """Write a time as Kubernetes does, with nine digits.

    Examples
    --------
    >>> rfc3339(1_700_000_000_000_000_005)
    '2023-11-14T22:13:20.000000005Z'
    """
    second, fraction = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)?\s*([Zz]|[+-]\d\d:?\d\d)?\Z"
)


def parse_rfc3339(text: str) -> int:
    """Read an RFC 3339 time to ns since the epoch, keeping all nine digits.

    Raises
    ------
    ValueError
        `text` is no such time.

    Examples
    --------
    >>> parse_rfc3339("2023-11-14T23:13:20.5+01:00")
    1700000000500000000
    """
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    second = int(datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp())
    return second * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


#: Stores count in 63 bits.
_MOST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a recording; to everyone outside an opaque string.

    Parameters
    ----------
    recording : int
        The recording's id in its store; 0 means whichever is current.
    seq : int
        Everything up to here has been delivered.
    before : tuple of int, optional
        For going back in time within what was recorded up to `seq`: only records whose (time, seq) is less.

    Examples
    --------
    >>> str(Cursor(7, 1204)), Cursor.parse("7-1204"), Cursor.parse("0")
    ('7-1204', Cursor(recording=7, seq=1204, before=None), Cursor(recording=0, seq=0, before=None))
    """

    recording: int
    seq: int
    before: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor.

        Raises
        ------
        BadQuery
            It is none of ours.
        """
        parts = text.strip().split("-")
        if not all(p.isdecimal() and len(p) < 20 for p in parts):  # noqa: PLR2004
            raise BadQuery(f"{text[:60]!r} is no cursor", "take the `id:` of an event, or `older`/`newer` of a page")
        match [int(p) for p in parts]:
            case [0]:
                return cls(0, 0)
            case [recording, seq] if seq < _MOST:
                return cls(recording, seq)
            case [recording, seq, time, at] if seq < _MOST:
                return cls(recording, seq, (time, at))
        raise BadQuery(f"{text[:60]!r} is no cursor", "take the `id:` of an event, or `older`/`newer` of a page")

    def check(self, recording: int) -> Cursor:
        """Give the cursor for this recording.

        Raises
        ------
        CursorNotHeld
            It belongs to another one: the task was started anew, or its old recording has gone.
        """
        if self.recording not in (0, recording):
            raise CursorNotHeld("this cursor belongs to an earlier run of the task, or to a recording no longer held")
        return Cursor(recording, self.seq, self.before)

    def __str__(self) -> str:
        tail = f"-{self.before[0]}-{self.before[1]}" if self.before else ""
        return f"{self.recording}-{self.seq}{tail}"


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
