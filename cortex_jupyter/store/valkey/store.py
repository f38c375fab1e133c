"""Recordings on a Valkey server: any number of recorders and readers on any number of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import BadQuery, StoreBusy, StoreError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store import (
    READER_HINT,
    REQUEST_S,
    HealthWarning,
    RecordingInfo,
    RecordingRequest,
    Store,
    as_epochs,
    other_name,
)
from cortex_jupyter.store.deletion import task_name
from cortex_jupyter.store.ids import new_id
from cortex_jupyter.store.valkey import checks
from cortex_jupyter.store.valkey.changes import Changes
from cortex_jupyter.store.valkey.deletion import Deletions
from cortex_jupyter.store.valkey.entries import Entries
from cortex_jupyter.store.valkey.leases import Leases
from cortex_jupyter.store.valkey.link import VERSION, Link
from cortex_jupyter.store.valkey.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cortex_jupyter.store.valkey.address import Address

#: Initial columns of a recording; each is kept as JSON.
_INITIAL: Final[dict[str, Any]] = {
    "state": "pending",
    "message": "Log not available yet: the recorder is starting",
    "reason": "",
    "exit_code": None,
    "started": None,
    "finished": None,
    "done": 0,
    "caught_up": 0,
    "last_seq": 0,
    "clock_ms": 0,
    "masked": None,
    "epochs": [],
}
#: Requests that a recorder looks at at once.
_MAX_REQUESTS: Final = 50
_COLUMNS: Final = ("namespace", "kind", "name", "uid", "cluster", *_INITIAL)
#: Recordings per request: the server answers no other request meanwhile.
_PER_REQUEST: Final = 500


class ValkeyStore(Entries, Leases, Deletions, Retention, Store):
    """A store on a server; `Store` documents each method, `Link` the errors of the constructor."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self._link = Link(address)
        self._changes = Changes(self._link.client)

    def close(self) -> None:
        self._changes.close()
        self._link.close()

    def open(self, cluster: str, ref: TaskRef, uid: str) -> int:
        name = task_name(cluster, ref, uid)
        id_ = self._link.ask("HGET", "cortex:uids", name)
        if id_ is not None and (self._link.ask("EXISTS", f"cortex:{int(id_)}:sources") or self.is_reader()):
            return int(id_)
        if self.is_reader():
            self._check_not_deleted(name, ref)
            self._check_recorder(cluster, ref)
            raise StoreBusy(f"no recorder has begun a recording of {ref.key} yet", READER_HINT)
        row = {"namespace": ref.namespace, "kind": ref.kind, "name": ref.name, "uid": uid, "cluster": cluster}
        columns = [x for k, v in (row | _INITIAL).items() for x in (k, orjson.dumps(v))]
        try:  # also if it exists: keeps an empty recording from `forget_empty` until it is wanted
            opened = int(self._link.secured("open", name, _names(ref), new_id(), *columns))
        except StoreError:
            if id_ is None:
                raise
            return int(id_)  # a read-only store can still be read
        if opened < 0:
            self._check_not_deleted(name, ref)
            return self.open(cluster, ref, uid)  # it was allowed again just now
        return opened

    def _check_not_deleted(self, name: str, ref: TaskRef) -> None:
        if deletion := self.deletion_of_task(name):
            raise deletion.error(f"the recording of {ref.key}")

    def _check_recorder(self, cluster: str, ref: TaskRef) -> None:
        """Refuse to ask for a recording that no living recorder may begin.

        Raises
        ------
        StoreBusy
        """
        recorders = self.recorders(cluster)
        if not recorders:
            raise StoreBusy(
                f"{ref.key} has no recording, and no recorder is alive to begin one",
                other_name(self, cluster) or READER_HINT,
            )
        if not any(each.serves(ref.namespace) and ref.namespace not in each.refused for each in recorders):
            raise StoreBusy(
                f"{ref.key} has no recording, and no recorder that may record namespace {ref.namespace!r} is alive to begin one",
                READER_HINT,
            )

    def request(self, cluster: str, ref: TaskRef, uid: str) -> bool:
        if self.requested(cluster, ref, uid) is not None or not self.is_reader():
            return False
        self._check_not_deleted(task_name(cluster, ref, uid), ref)
        self._check_recorder(cluster, ref)
        self._link.call("request", orjson.dumps([cluster, ref.key, uid]), int(REQUEST_S * 1000))
        return True

    def requested(self, cluster: str, ref: TaskRef, uid: str) -> int | None:
        id_ = self._link.ask("HGET", "cortex:uids", task_name(cluster, ref, uid))
        return None if id_ is None else int(id_)

    def requests(self, cluster: str) -> list[RecordingRequest]:
        requests = []
        for text in self._link.call("requests", _MAX_REQUESTS, int(REQUEST_S * 1000)):
            try:
                cluster_id, key, uid = orjson.loads(text)
                request = RecordingRequest(TaskRef.parse(key), str(uid), text)
            except (
                ValueError,
                TypeError,
                AttributeError,
                BadQuery,
            ):  # a user who only reads wrote it: it may be anything
                self._link.ask("ZREM", "cortex:requests", text)
            else:
                if cluster_id == cluster:
                    requests.append(request)
        return requests

    def drop_request(self, request: RecordingRequest) -> None:
        self._link.ask("ZREM", "cortex:requests", request.text)

    def is_reader(self) -> bool:
        return not self._link.call("may_record")

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:
        infos = [
            info
            for info in self._infos(self._link.ask("SMEMBERS", _names(ref)))
            if ref.allows_kind(info.ref.kind) and info.cluster == (cluster or info.cluster)
        ]
        return max(infos, key=lambda info: (info.ref.kind == "job", info.id), default=None)

    def info(self, recording: int) -> RecordingInfo | None:
        return next(iter(self._infos([recording])), None)

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:
        infos = self._infos(self._link.ask("ZRANGE", "cortex:recordings", 0, -1, "REV"))
        return [info for info in infos if info.ref.namespace == (namespace or info.ref.namespace)]

    def want(self, recording: int, seconds: float) -> None:
        self._link.call("want", recording, int(seconds * 1000))

    def wanted(self, cluster: str) -> list[RecordingInfo]:
        return [i for i in self._infos(self._link.call("wanted")) if i.cluster == cluster and not i.done]

    def unfinished(self, cluster: str) -> list[RecordingInfo]:
        infos = self._infos(self._link.ask("ZDIFF", 2, "cortex:recordings", "cortex:done"))
        return [info for info in infos if info.cluster == cluster]

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        channel = "cortex:wishes" if recording is None else f"cortex:changed:{recording}"
        return self._changes.subscribe(callback, channel)

    def size(self) -> int:
        return int(self._link.info("memory")["used_memory"])

    def describe(self) -> str:
        return checks.describe(self._link, VERSION)

    def health_warnings(self) -> list[HealthWarning]:
        return checks.health_warnings(self._link)

    def _infos(self, ids: Iterable[Any]) -> list[RecordingInfo]:
        pending = list(ids)
        infos = []
        for at in range(0, len(pending), _PER_REQUEST):
            infos += self._link.call("infos", len(_COLUMNS), *_COLUMNS, *pending[at : at + _PER_REQUEST])
        return [_info(*row) for row in infos]


def _names(ref: TaskRef) -> str:
    return f"cortex:named:{ref.namespace}/{ref.name}"


def _info(id_: bytes, lives: int, *row: bytes) -> RecordingInfo:
    columns: dict[str, Any] = dict(zip(_COLUMNS, (orjson.loads(value or b"null") for value in row), strict=True))
    ref = TaskRef(columns.pop("namespace"), columns.pop("kind"), columns.pop("name"))
    # `caught_up` counts only while the recorder that set it lives.
    done, caught_up = bool(columns.pop("done")), bool(columns.pop("caught_up") and lives)
    epochs = as_epochs(columns.pop("epochs"))  # older versions keep none
    return RecordingInfo(int(id_), ref, done=done, caught_up=caught_up, epochs=epochs, **columns)
