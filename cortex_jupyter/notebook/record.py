"""One line and the state of a task, as Python code meets them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from cortex_jupyter.model import STREAMS, rfc3339
from cortex_jupyter.parsing.level import level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.model import Batch
    from cortex_jupyter.reader import snapshot


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a task's log.

    Parameters
    ----------
    seq : int
        Its number in the recording.
    ns : int
        Its time, ns since the epoch, UTC.
    pod, container, kind : str
        `kind` is `init`, `main`, `sidecar` or `ephemeral`.
    run : int
        The container's restart count.
    node : str
    stream : str
        `stdout`, `stderr`, or `unknown` where Kubernetes does not say.
    text : str
        As written.

    Examples
    --------
    >>> Record(7, 1_700_000_000_000_000_005, "train-1-x", "main", "main", 0, "n1", "stdout", "INFO loss=0.5")
    22:13:20.000 train-1-x/main INFO loss=0.5
    """

    seq: int
    ns: int
    pod: str
    container: str
    kind: str
    run: int
    node: str
    stream: str
    text: str

    @property
    def time(self) -> datetime:
        """The time with Python's resolution of a microsecond; `ns` holds all digits."""
        return datetime.fromtimestamp(self.ns // 1_000_000_000, UTC).replace(
            microsecond=self.ns % 1_000_000_000 // 1000
        )

    @property
    def level(self) -> str | None:
        """The level that the line states, if it does."""
        return level(self.text)

    def __repr__(self) -> str:
        return f"{rfc3339(self.ns)[11:23]} {self.pod}/{self.container} {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """Give what `-o json` and `-o ndjson` write: the record of the HTTP contract."""
        return {
            "seq": self.seq, "time": rfc3339(self.ns), "pod": self.pod, "container": self.container, "kind": self.kind,
            "run": self.run, "node": self.node, "stream": self.stream, "level": self.level, "text": self.text,
        }  # fmt: skip

    @classmethod
    def of(cls, found: snapshot.Record) -> Self:
        """Make it from a record of a page."""
        return cls._make(found.seq, found.time, found.source, found.stream, found.text)

    @classmethod
    def each(cls, batch: Batch) -> Iterator[Self]:
        """Make those of a batch, in its order."""
        rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
        for seq, ns, sid, stream, text in rows:
            yield cls._make(seq, ns, batch.sources[sid], stream, text)

    @classmethod
    def _make(cls, seq: int, ns: int, source: dict[str, Any], stream: int, text: str) -> Self:
        pod, container, kind = source["pod"], source["container"], source.get("kind", "main")
        run, node = source.get("run", 0), source.get("node") or ""
        return cls(seq, ns, pod, container, kind, run, node, STREAMS[stream], text)


class Marked(NamedTuple):
    """A line that was bookmarked in the viewer.

    Parameters
    ----------
    record : Record
    note : str
        What was written beside it, or nothing.
    """

    record: Record
    note: str


@dataclass(frozen=True, slots=True)
class Status:
    """How a task stands.

    Parameters
    ----------
    state : str
        `pending`, `running`, `succeeded`, `failed` or `gone`.
    message : str
        What a person reads: `Log not available yet: ImagePullBackOff`, `Job complete exit 0`.
    exit_code : int or None
        Of a task that has ended.
    done : bool
        It has ended and all of its log has been read.
    reason : str
        As Kubernetes names it, where it says one.
    """

    state: str
    message: str
    exit_code: int | None
    done: bool
    reason: str = ""

    @classmethod
    def of(cls, task: dict[str, Any], *, done: bool) -> Self:
        """Take it from a task as the HTTP contract gives it."""
        return cls(task["state"], task["message"], task["exit_code"], done, task.get("reason") or "")

    def __str__(self) -> str:
        return self.message
