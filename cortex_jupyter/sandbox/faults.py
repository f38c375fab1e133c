"""The faults that a test can inject into the sandbox.

A fault is a JSON object with a `kind`, matchers and parameters. In the same process, set one with
`await Sandbox.fault(KIND, **options)`. Over HTTP, with the same token, `POST /sandbox/faults` sets one and answers it
with its `id`, `GET /sandbox/faults` lists the faults in force, and `DELETE /sandbox/faults[/ID]` removes them.

All matchers are optional. `pod` and `container` are regular expressions that match the whole name. `path` is a regular
expression that is searched in `METHOD /path?query`. `count` is how many times the fault applies before it is removed;
without it, the fault applies until it is deleted. Kinds marked "(once)" act immediately, on what exists at that moment.

======================  ============================================================================
kind                    effect
======================  ============================================================================
`cut`                   a log stream ends normally after `after_bytes` (default 0: immediately, including
                        running streams) although the container still runs
`abort`                 as `cut`, but with a TCP reset in the middle of a line
`stall`                 a log stream stays open and silent after `after_bytes`
`slow`                  log streams send `bytes_per_second`
`garbage`               a log request answers 200 with `text` (default: the kubelet's text for a container that
                        it lost)
`status`                a request answers `code` (default 500) with `text` (default: the API server's text for 410, 429,
                        500, 503 and 504), and with a `Retry-After` header of `retry_after` seconds
`drop`                  the server closes the connection without an answer, as when a request arrives while the
                        server closes an idle connection
`idle`                  (once) connections that wait for a request are closed
`blind`                 a follow does not notice a rotation: it stays with the old file, open and silent,
                        until the next rotation (a 1.20 kubelet does so at most rotations)
`expire`                (once) all earlier versions expire: running watches end with 410
`deny`                  `verb` on `resource` (such as `pods/log`, or with its group `jobs.batch`) is forbidden, and
                        access reviews agree; narrowed by `namespace`, `user`, `group` (of the user) and `name` (of
                        the object), each `*` by default
`rotate`                (once) the logs of matching containers are rotated
`delete-log`            (once) the log files of matching containers are removed, and the runtime forgets the runs
`kill`                  (once) matching containers get `signal` (default 9)
`oom`                   (once) matching containers are killed as the kernel does when memory runs out
`clock`                 lines of matching containers get shifted times: `offset` seconds are added and the result is
                        rounded down to `resolution` seconds, or all lines get the time `at` (ns)
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

#: Kinds that act once, immediately.
ACTIONS = frozenset({"expire", "idle", "rotate", "delete-log", "kill", "oom"})
#: Kinds that apply until they are used up or deleted.
LASTING = frozenset(
    {"drop", "cut", "abort", "stall", "slow", "garbage", "status", "deny", "blind", "clock", "image", "pull"}
)
#: Kinds that change a log stream.
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
    remaining: int | None = None
    hits: int = field(default=0)

    def matches(self, **names: str) -> bool:
        """Whether the fault applies to these names; a matcher that is not set matches everything."""
        for name, value in names.items():
            pattern = self.options.get(name)
            if pattern is None:
                continue
            match = re.search(pattern, value) if name == "path" else re.fullmatch(pattern, value)
            if not match:
                return False
        return True

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as the HTTP interface shows it."""
        return {"id": self.id, "hits": self.hits, "left": self.remaining, **self.options}


class Faults:
    """The faults in force, and the queries that other modules make about them."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        #: Set by the sandbox: carries out a fault that acts once.
        self.apply: Callable[[Fault], Any] = lambda _fault: None
        #: Set by the sandbox: called after each change, so that waiting pods and streams check their faults again.
        self.on_change: Callable[[], None] = lambda: None
        self._ids = itertools.count(1)

    def add(self, options: dict[str, Any]) -> Fault:
        """Put a fault in force.

        Parameters
        ----------
        options : dict
            Kind, matchers and parameters, as in the table above.

        Raises
        ------
        ApiError
            400 for an unknown kind, an unknown parameter, or a pattern that does not compile.
        """
        kind = str(options.get("kind"))
        if kind not in ACTIONS | LASTING:
            raise bad_request(f"unknown fault {kind!r}; known faults: {', '.join(sorted(ACTIONS | LASTING))}")
        if unknown := sorted(set(options) - _PARAMETERS):
            raise bad_request(f"unknown parameter {unknown[0]!r}; known parameters: {', '.join(sorted(_PARAMETERS))}")
        for name in ("pod", "container", "path", "image"):
            try:
                re.compile(options.get(name) or "")
            except re.error as error:
                raise bad_request(f"{name}: invalid regular expression: {error}") from error
        fault = Fault(next(self._ids), kind, dict(options), options.get("count"))
        if kind in LASTING:
            self.active.append(fault)
        self.on_change()
        return fault

    def remove(self, ident: int | None = None) -> None:
        """Remove one fault, or all."""
        self.active = [f for f in self.active if ident is not None and f.id != ident]
        self.on_change()

    def _find(self, kinds: frozenset[str], **names: str) -> Iterator[Fault]:
        return (f for f in self.active if f.kind in kinds and f.matches(**names))

    def use(self, fault: Fault) -> Fault:
        """Count one application of a fault; remove it after its last one."""
        fault.hits += 1
        if fault.remaining is not None:
            fault.remaining -= 1
            if fault.remaining <= 0 and fault in self.active:
                self.active.remove(fault)
        return fault

    # ------------------------------------------------------------ queries

    def raise_for_request(self, path: str) -> None:
        """Raise the error that a fault sets for a request, if any.

        Raises
        ------
        ApiError
            The answer of a `status` fault.
        """
        for fault in self._find(frozenset({"status"}), path=path):
            self.use(fault)
            options = fault.options
            raise failure(options.get("code", 500), options.get("text", ""), options.get("retry_after"))

    def drops_connection(self, path: str) -> bool:
        """Whether a fault closes the connection instead of answering this request."""
        fault = next(self._find(frozenset({"drop"}), path=path), None)
        return fault is not None and self.use(fault) is fault

    def log_fault(self, pod: str, container: str, path: str) -> Fault | None:
        """Return the fault that applies to a log stream, without counting it, or None."""
        return next(self._find(STREAM, pod=pod, container=container, path=path), None)

    def misses_rotation(self, pod: str, container: str) -> bool:
        """Whether a fault makes a follow of this container miss the latest rotation."""
        fault = next(self._find(frozenset({"blind"}), pod=pod, container=container), None)
        return fault is not None and self.use(fault) is fault

    def watch_fault(self, path: str) -> Fault | None:
        """Return the fault that applies to a watch stream, or None; only a fault with a `path` does."""
        return next((f for f in self._find(STREAM - {"garbage"}, path=path) if "path" in f.options), None)

    def is_denied(
        self,
        verb: str,
        resource: str,
        namespace: str,
        *,
        name: str,
        user: str,
        groups: Sequence[str] = (),
        api_group: str = "",
    ) -> bool:
        """Whether a fault forbids this access."""
        plural, separator, sub = resource.partition("/")
        qualified = f"{plural}.{api_group}{separator}{sub}" if api_group else resource
        request = {"verb": verb, "namespace": namespace, "name": name, "user": user}
        for fault in self._find(frozenset({"deny"})):
            is_in_group = fault.options.get("group", "*") in ("*", *groups)
            is_resource = fault.options.get("resource", "*") in ("*", resource, qualified)
            is_request = all(fault.options.get(k, "*") in ("*", v) for k, v in request.items())
            if is_in_group and is_resource and is_request:
                self.use(fault)
                return True
        return False

    def clock(self, pod: str, container: str) -> Callable[[], int]:
        """Return the clock that gives this container's lines their times (ns since the Unix epoch)."""
        fault = next(self._find(frozenset({"clock"}), pod=pod, container=container), None)
        if fault is None:
            return time.time_ns
        offset = int(fault.options.get("offset", 0) * 1e9)
        step = max(1, int(fault.options.get("resolution", 0) * 1e9))
        if (at := fault.options.get("at")) is not None:
            return lambda: int(at)
        return lambda: (time.time_ns() + offset) // step * step

    def image_present(self, image: str) -> bool | None:
        """Whether the newest fault for an image makes it present, or None if there is no such fault."""
        matches = list(self._find(frozenset({"image"}), image=image))
        return bool(matches[-1].options.get("present", True)) if matches else None

    def pull_seconds(self, image: str) -> float:
        """Return how long pulling an image takes (seconds)."""
        return next((float(f.options.get("seconds", 0)) for f in self._find(frozenset({"pull"}), image=image)), 0.0)
