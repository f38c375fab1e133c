"""Everything that can go wrong, on command, in one place.

A fault is a JSON object with a `kind`, some matchers and some parameters. It is set by
`Sandbox.faults.add({...})` in the same process or by `POST /sandbox/faults` (same token), which answers
the fault with its `id`; `GET /sandbox/faults` lists those in force, `DELETE /sandbox/faults[/ID]` ends them.

Matchers, all optional: `pod` and `container` (regular expressions, whole name), `path` (regular
expression, searched in `METHOD /path?query`), `count` (how often, then it is used up; without it until deleted).

======================  ============================================================================
kind                    what happens
======================  ============================================================================
`cut`                   a log stream ends normally after `after_bytes` (default 0: at once, running streams
                        too) although the container runs
`abort`                 the same with a TCP reset in mid-line
`stall`                 a log stream stays open and silent after `after_bytes`
`slow`                  log streams send `bytes_per_second`
`garbage`               a log answer is 200 with `text` (default: the kubelet's for a container it lost)
`status`                a request answers `code` (default 500; 429, 503 and 504 too as an API server words them,
                        or `text`), with `retry_after` seconds if given
`drop`                  the connection of a request is closed without an answer, as one that was idle for too
                        long is when the request crosses the closing
`idle`                  (at once) connections that wait for a request are closed
`blind`                 a follow does not notice a rotation: it stays with the old file, open and silent,
                        until the next one (a 1.20 kubelet at most rotations)
`expire`                (at once) all held versions are forgotten: running watches end with 410
`deny`                  `verb` on `resource` (`pods/log`; `*`) in `namespace` is forbidden, for `user`, who is in
                        `group`, and the object `name` if given, and access reviews say so
`rotate`                (at once) the logs of matching containers are rotated
`delete-log`            (at once) their files are removed, and the runtime forgets the runs
`kill`                  (at once) they get `signal` (default 9)
`oom`                   (at once) they are killed as the kernel kills for memory
`clock`                 their lines are stamped with `offset` seconds added, cut to `resolution` seconds,
                        or all `at` one time (ns): skew, coarse clocks, equal stamps, a second twice
`image`                 images that match `image` count as present (`present: false`: as missing)
`pull`                  images that match `image` take `seconds` to pull
======================  ============================================================================
"""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.status import bad_request, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Faults that act once, on what runs now.
ACTIONS = frozenset({"expire", "idle", "rotate", "delete-log", "kill", "oom"})
LASTING = frozenset(
    {"drop", "cut", "abort", "stall", "slow", "garbage", "status", "deny", "blind", "clock", "image", "pull"}
)
STREAM = frozenset({"cut", "abort", "stall", "slow", "garbage"})
_PARAMETERS = frozenset(
    [
        "kind",
        "pod",
        "container",
        "path",
        "count",
        "after_bytes",
        "bytes_per_second",
        "text",
        "code",
        "retry_after",
        "verb",
        "resource",
        "namespace",
        "name",
        "user",
        "group",
        "signal",
        "offset",
        "resolution",
        "at",
        "image",
        "present",
        "seconds",
    ]
)


@dataclass
class Fault:
    """One fault in force."""

    id: int
    kind: str
    options: dict[str, Any]
    left: int | None = None
    hits: int = field(default=0)

    def matches(self, **names: str) -> bool:
        """Whether it applies to these names; a matcher that is not set applies to all."""
        for name, value in names.items():
            pattern = self.options.get(name)
            if pattern is None:
                continue
            found = re.search(pattern, value) if name == "path" else re.fullmatch(pattern, value)
            if not found:
                return False
        return True

    def as_dict(self) -> dict[str, Any]:
        """Give it as the HTTP interface shows it."""
        return {"id": self.id, "hits": self.hits, "left": self.left, **self.options}


class Faults:
    """The faults in force, and the questions the other parts ask about them."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        #: Set by the sandbox: carries out a fault that acts at once.
        self.act: Callable[[Fault], Any] = lambda _fault: None
        #: Set by the sandbox: called after each change, so that what waits looks again.
        self.changed: Callable[[], None] = lambda: None
        self._ids = itertools.count(1)

    def add(self, options: dict[str, Any]) -> Fault:
        """Put a fault in force.

        Parameters
        ----------
        options : dict
            As in the table above.

        Raises
        ------
        ApiError
            400 for an unknown kind, parameter, or a pattern that does not compile.
        """
        kind = str(options.get("kind"))
        if kind not in ACTIONS | LASTING:
            raise bad_request(f"unknown fault {kind!r}; one of {', '.join(sorted(ACTIONS | LASTING))}")
        if unknown := sorted(set(options) - _PARAMETERS):
            raise bad_request(f"unknown parameter {unknown[0]!r}; one of {', '.join(sorted(_PARAMETERS))}")
        for name in ("pod", "container", "path", "image"):
            try:
                re.compile(options.get(name) or "")
            except re.error as error:
                raise bad_request(f"{name}: {error}") from error
        fault = Fault(next(self._ids), kind, dict(options), options.get("count"))
        if kind in LASTING:
            self.active.append(fault)
        self.changed()
        return fault

    def remove(self, ident: int | None = None) -> None:
        """End one fault, or all."""
        self.active = [f for f in self.active if ident is not None and f.id != ident]
        self.changed()

    def _find(self, kinds: frozenset[str], **names: str) -> Iterator[Fault]:
        return (f for f in self.active if f.kind in kinds and f.matches(**names))

    def use(self, fault: Fault) -> Fault:
        """Count one application; the last one ends it."""
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left <= 0 and fault in self.active:
                self.active.remove(fault)
        return fault

    # ------------------------------------------------------------ questions

    def request(self, path: str) -> None:
        """Raise the error that a request shall get.

        Raises
        ------
        ApiError
            As the fault says.
        """
        for fault in self._find(frozenset({"status"}), path=path):
            self.use(fault)
            options = fault.options
            raise failure(options.get("code", 500), options.get("text", ""), options.get("retry_after"))

    def drops(self, path: str) -> bool:
        """Whether the connection is closed instead of an answer to this request."""
        fault = next(self._find(frozenset({"drop"}), path=path), None)
        return fault is not None and self.use(fault) is fault

    def stream(self, pod: str, container: str, path: str) -> Fault | None:
        """Give the fault of a log stream that would end or hinder it, not counted yet."""
        return next(self._find(STREAM, pod=pod, container=container, path=path), None)

    def blind(self, pod: str, container: str) -> bool:
        """Whether a follow of this container misses the rotation that has just been."""
        fault = next(self._find(frozenset({"blind"}), pod=pod, container=container), None)
        return fault is not None and self.use(fault) is fault

    def watch(self, path: str) -> Fault | None:
        """Give the fault of a watch stream: one that names its path."""
        return next((f for f in self._find(STREAM - {"garbage"}, path=path) if "path" in f.options), None)

    def denied(
        self, verb: str, resource: str, namespace: str, *, name: str, user: str, groups: Sequence[str] = ()
    ) -> bool:
        """Whether a fault forbids this."""
        for fault in self._find(frozenset({"deny"})):
            wanted = {"verb": verb, "resource": resource, "namespace": namespace, "name": name, "user": user}
            of = fault.options.get("group", "*") in ("*", *groups)
            if of and all(fault.options.get(k, "*") in ("*", v) for k, v in wanted.items()):
                self.use(fault)
                return True
        return False

    def clock(self, pod: str, container: str) -> Callable[[], int]:
        """Give the clock that stamps this container's lines, in ns since the epoch."""
        fault = next(self._find(frozenset({"clock"}), pod=pod, container=container), None)
        if fault is None:
            return time.time_ns
        offset = int(fault.options.get("offset", 0) * 1e9)
        step = max(1, int(fault.options.get("resolution", 0) * 1e9))
        if (at := fault.options.get("at")) is not None:
            return lambda: int(at)
        return lambda: (time.time_ns() + offset) // step * step

    def image_present(self, image: str) -> bool | None:
        """Whether an image is there, or None where no fault says so; the newest one counts."""
        found = list(self._find(frozenset({"image"}), image=image))
        return bool(found[-1].options.get("present", True)) if found else None

    def pull_seconds(self, image: str) -> float:
        """How long pulling an image takes."""
        return next((float(f.options.get("seconds", 0)) for f in self._find(frozenset({"pull"}), image=image)), 0.0)
