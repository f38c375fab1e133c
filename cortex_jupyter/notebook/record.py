"""A record, a bookmarked record and the state of a task, for Python code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from cortex_jupyter.model import MEMBERSHIP, STREAMS, rfc3339
from cortex_jupyter.parsing.level import level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.model import Batch, PublicSource
    from cortex_jupyter.store import scan


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a task's log.

    Parameters
    ----------
    seq : int
        Number in the recording.
    ns : int
        Time in ns since the Unix epoch (UTC).
    pod, container, kind : str
        `kind` is `init`, `main`, `sidecar` or `ephemeral`.
    run : int
        Restart count of the container.
    node : str
    stream : str
        `stdout`, `stderr`, or `unknown` if Kubernetes does not say.
    text : str
        The line as written.
    role, rank, attempt : str
        Where its source stands in the task: `worker`, `3`, `0`. Empty if Kubernetes does not show it.

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
    role: str = ""
    rank: str = ""
    attempt: str = ""

    @property
    def time(self) -> datetime:
        """The time in microseconds, Python's resolution; `ns` is exact."""
        return datetime.fromtimestamp(self.ns // 1_000_000_000, UTC).replace(
            microsecond=self.ns % 1_000_000_000 // 1000
        )

    @property
    def level(self) -> str | None:
        """The level of the line, if it has one."""
        return level(self.text)

    def __repr__(self) -> str:
        return f"{rfc3339(self.ns)[11:23]} {self.pod}/{self.container} {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """Return what `-o json` and `-o ndjson` write: a record of a page (docs/reference/http.md), and its node."""
        membership = {name: value for name in MEMBERSHIP if (value := getattr(self, name))}
        return {
            "seq": self.seq,
            "time": rfc3339(self.ns),
            "pod": self.pod,
            "container": self.container,
            "kind": self.kind,
            "run": self.run,
            "node": self.node,
            "stream": self.stream,
            "level": self.level,
            "text": self.text,
            **membership,
        }

    @classmethod
    def of(cls, record: scan.Record) -> Self:
        """Convert a record of a page."""
        return cls._make(record.seq, record.time, record.source, record.stream, record.text)

    @classmethod
    def each(cls, batch: Batch) -> Iterator[Self]:
        """Yield the records of a batch, in its order."""
        rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
        for seq, ns, sid, stream, text in rows:
            yield cls._make(seq, ns, batch.sources[sid], stream, text)

    @classmethod
    def _make(cls, seq: int, ns: int, source: PublicSource, stream: int, text: str) -> Self:
        pod, container, kind = source["pod"], source["container"], source.get("kind", "main")
        run, node = source.get("run", 0), source.get("node") or ""
        role, rank, attempt = source.get("role", ""), source.get("rank", ""), source.get("attempt", "")
        return cls(seq, ns, pod, container, kind, run, node, STREAMS[stream], text, role, rank, attempt)


class Marked(NamedTuple):
    """A bookmarked line.

    Parameters
    ----------
    record : Record
    note : str
        The user's note; may be empty.
    """

    record: Record
    note: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a task.

    Parameters
    ----------
    state : str
        `pending`, `running`, `succeeded`, `failed` or `gone`.
    message : str
        For users: `Log not available yet: ImagePullBackOff`, `Job complete exit 0`.
    exit_code : int or None
        Exit code of a task that has ended.
    done : bool
        Whether the task has ended and its recording is complete.
    reason : str
        The reason that Kubernetes gives, or nothing.
    """

    state: str
    message: str
    exit_code: int | None
    done: bool
    reason: str = ""

    @classmethod
    def of(cls, task: dict[str, Any], *, done: bool) -> Self:
        """Convert the description of a task in an HTTP answer."""
        return cls(task["state"], task["message"], task["exit_code"], done, task.get("reason") or "")

    @property
    def ended_well(self) -> bool:
        """Whether the task has succeeded. How the program ended whose log is in a file is unknown."""
        return self.state == "succeeded" and self.reason != "Opened"

    def __str__(self) -> str:
        return self.message
