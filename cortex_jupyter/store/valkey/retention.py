"""How recordings leave a Valkey store: at once. A thread of the server frees their memory."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.store import RecordingUsage, RetentionStore, SettingsStore
from cortex_jupyter.store.archive_attempts import attempts_setting
from cortex_jupyter.store.budget import MAX_AGE_S, Budget
from cortex_jupyter.store.ids import first_at
from cortex_jupyter.store.packing import pack
from cortex_jupyter.store.valkey.entries import head

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from cortex_jupyter.model import Entry
    from cortex_jupyter.store import Lease
    from cortex_jupyter.store.valkey.link import Link

#: Default share of the server's memory for recordings. Replication, the append-only file and other users need the
#: rest.
_SHARE: Final = 0.6
#: Memory is short above this share of `maxmemory`. When it is full, the server refuses lines.
_SHORT = 0.9
#: If memory is short, it is freed down to this share of `maxmemory`.
_ENOUGH = 0.85
#: Recordings per request, which takes a millisecond or two: the server answers no other request meanwhile.
_PER_REQUEST: Final = 200
#: Bytes that must be free before recording continues.
_ROOM: Final = 1 << 20


class Retention(RetentionStore, SettingsStore):
    """The part of `ValkeyStore` for settings, sizes and deletion; the protocols document each method."""

    _link: Link

    def budget(self) -> Budget:
        memory = self._link.info("memory")
        whole = int(memory.get("maxmemory") or 0) or int(memory.get("total_system_memory") or 0)
        return self._explicit_budget().with_defaults(Budget(int(whole * _SHARE), MAX_AGE_S))

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        current = self._explicit_budget()
        requested = current.with_defaults(budget) if weak else budget.with_defaults(current)
        for name, value in requested.changed_settings(current).items():
            self.set_setting(name, value)

    def _explicit_budget(self) -> Budget:
        return Budget.from_settings(self.settings(field.name for field in fields(Budget)))

    def setting(self, name: str) -> str:
        value: bytes | None = self._link.ask("HGET", "cortex:settings", name)
        return "" if value is None else value.decode()

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        keys = [*names]
        values: list[bytes | None] = self._link.ask("HMGET", "cortex:settings", *keys)
        return {name: value.decode() for name, value in zip(keys, values, strict=True) if value is not None}

    def set_setting(self, name: str, value: str) -> None:
        self.set_settings({name: value})

    def set_settings(self, values: Mapping[str, str]) -> None:
        if values:
            self._link.ask("HSET", "cortex:settings", *(text for pair in values.items() for text in pair))

    def unarchived(self, url: str) -> list[int]:
        done = [id_.decode() for id_ in self._link.ask("ZRANGE", "cortex:done", 0, -1)]
        if not done:
            return []
        archives: list[Any] = self._link.ask("HMGET", "cortex:settings", *(f"archived:{id_}" for id_ in done))
        return [
            int(id_) for id_, archive in zip(done, archives, strict=True) if archive is None or archive.decode() != url
        ]

    def archive_backlog(self, url: str) -> tuple[int, float | None]:
        waiting = self.unarchived(url)
        ended_ms = self._link.ask("ZSCORE", "cortex:done", waiting[0]) if waiting else None
        return len(waiting), None if ended_ms is None else float(ended_ms) / 1000

    def mark_archived(self, recording: int, url: str) -> bool:
        name = f"archived:{recording}"
        # HSET answers whether the field is new, so of two processes at the same time only one was first.
        is_elsewhere = self.setting(name) not in ("", url)
        is_new = bool(self._link.ask("HSET", "cortex:settings", name, url)) or is_elsewhere
        self._link.ask("HDEL", "cortex:settings", attempts_setting(recording))
        return is_new

    def used_bytes(self) -> int:
        return int(self._link.ask("GET", "cortex:bytes") or 0)

    def recording_bytes(self, recording: int) -> int:
        return int(self._link.ask("HGET", f"cortex:{recording}", "bytes") or 0)

    def bytes_to_free(self) -> int:
        memory = self._link.info("memory")
        used, limit = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
        if not limit or used <= _SHORT * limit or memory.get("lazyfree_pending_objects"):  # memory is being freed
            return 0
        return int(used - _ENOUGH * limit)

    def trim(self, lease: Lease, gap: Entry, resume_lines: bytes) -> bool:
        fence = (lease.recording, lease.owner, lease.epoch)
        return bool(self._link.secured("trim", *fence, gap.last, head(gap), pack(gap.data), resume_lines))

    def resume_lines(self, recording: int) -> bytes:
        entries = self._link.ask("XRANGE", f"cortex:{recording}:trimmed", "-", "+")
        return bytes(entries[0][1][b"r"]) if entries else b""

    def usage(self) -> list[RecordingUsage]:
        ids, usage = self._link.ask("ZRANGE", "cortex:recordings", 0, -1), []
        for at in range(0, len(ids), _PER_REQUEST):
            rows = self._link.call("usage", *ids[at : at + _PER_REQUEST])
            usage += [
                RecordingUsage(int(id_), orjson.loads(ns), int(size), float(ended) / 1000 if ended else None)
                for id_, ns, size, ended in rows
            ]
        return usage

    def oldest_removable(self, namespaces: Collection[str] | None = None) -> tuple[int, float] | None:
        if namespaces is not None and not namespaces:
            return None
        names = [orjson.dumps(name) for name in namespaces or ()]
        answer: list[bytes] | None = [b""]
        while answer and len(answer) == 1:  # nothing yet, and where to continue
            answer = self._link.call("oldest", answer[0], _PER_REQUEST, *names)
        return (int(answer[0]), float(answer[1]) / 1000) if answer else None

    def forget(self, recording: int) -> bool:
        return bool(self._link.call("forget", recording))

    def forget_empty(self, seconds: float) -> int:
        first_young = first_at(time.time() - seconds)
        unfinished = map(int, self._link.ask("ZDIFF", 2, "cortex:recordings", "cortex:done"))
        old = [id_ for id_ in unfinished if id_ < first_young]
        groups = (old[at : at + _PER_REQUEST] for at in range(0, len(old), _PER_REQUEST))
        return sum(int(self._link.call("forget_empty", int(seconds * 1000), *ids)) for ids in groups)

    def sweep(self) -> bool:
        return False  # `forget` leaves nothing behind

    def keep_reserve(self) -> bool:
        memory = self._link.info("memory")
        limit = int(memory.get("maxmemory") or 0)
        return not limit or int(memory["used_memory"]) + _ROOM < limit

    def release_reserve(self) -> None:
        pass  # notices may exceed the memory limit: see `_FLAGS` in `link`
