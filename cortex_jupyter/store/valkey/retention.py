"""How recordings leave a Valkey store: at once; the memory of a whole one is freed by a thread of the server's."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.store.archive_attempts import attempts_setting
from cortex_jupyter.store.budget import MAX_AGE_S, Budget
from cortex_jupyter.store.ids import first_at
from cortex_jupyter.store.packing import pack
from cortex_jupyter.store.valkey.entries import head

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.model import Entry
    from cortex_jupyter.store import Lease
    from cortex_jupyter.store.valkey.link import Link

#: Of the server's memory recordings take this share where nothing is set: replication, the append-only file and others
#: need theirs.
_SHARE: Final = 0.6
#: Above the one share of `maxmemory` memory is short, until it is below the other: before it is full and lines are refused.
_SHORT, _ENOUGH = 0.9, 0.85
#: Recordings that are looked at in one call, a millisecond or two: the server answers nobody else meanwhile.
_SOME: Final = 200
#: So much has to be free before recording goes on.
_ROOM: Final = 1 << 20


class Retention:
    """The part of `ValkeyStore` that deletes; `Store` says what each method does."""

    _link: Link

    def budget(self) -> Budget:
        memory = self._link.info("memory")
        whole = int(memory.get("maxmemory") or 0) or int(memory.get("total_system_memory") or 0)
        return self._set().over(Budget(int(whole * _SHARE), MAX_AGE_S))

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        held = self._set()
        wish = held.over(budget) if weak else budget.over(held)
        for name, value in wish.settings(held).items():
            self.set_setting(name, value)

    def _set(self) -> Budget:
        return Budget.kept(self.settings(one.name for one in fields(Budget)))

    def setting(self, name: str) -> str:
        value: bytes | None = self._link.ask("HGET", "cortex:settings", name)
        return "" if value is None else value.decode()

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        some = [*names]
        values: list[bytes | None] = self._link.ask("HMGET", "cortex:settings", *some)
        return {name: value.decode() for name, value in zip(some, values, strict=True) if value is not None}

    def set_setting(self, name: str, value: str) -> None:
        self._link.ask("HSET", "cortex:settings", name, value)

    def unarchived(self, url: str) -> list[int]:
        done = [id_.decode() for id_ in self._link.ask("ZRANGE", "cortex:done", 0, -1)]
        if not done:
            return []
        where: list[Any] = self._link.ask("HMGET", "cortex:settings", *(f"archived:{id_}" for id_ in done))
        return [int(id_) for id_, at in zip(done, where, strict=True) if at is None or at.decode() != url]

    def mark_archived(self, recording: int, url: str) -> None:
        self.set_setting(f"archived:{recording}", url)
        self._link.ask("HDEL", "cortex:settings", attempts_setting(recording))

    def used_bytes(self) -> int:
        return int(self._link.ask("GET", "cortex:bytes") or 0)

    def recording_bytes(self, recording: int) -> int:
        return int(self._link.ask("HGET", f"cortex:{recording}", "bytes") or 0)

    def bytes_to_free(self) -> int:
        memory = self._link.info("memory")
        used, limit = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
        if not limit or used <= _SHORT * limit or memory.get("lazyfree_pending_objects"):  # it is being freed
            return 0
        return int(used - _ENOUGH * limit)

    def trim(self, lease: Lease, gap: Entry, remains: bytes) -> bool:
        fence = (lease.recording, lease.owner, lease.epoch)
        return bool(self._link.secured("trim", *fence, gap.last, head(gap), pack(gap.data), remains))

    def resume_lines(self, recording: int) -> bytes:
        found = self._link.ask("XRANGE", f"cortex:{recording}:trimmed", "-", "+")
        return bytes(found[0][1][b"r"]) if found else b""

    def oldest_removable(self) -> tuple[int, float] | None:
        found: list[bytes] | None = [b""]
        while found and len(found) == 1:
            found = self._link.call("oldest", found[0], _SOME)
        return (int(found[0]), float(found[1]) / 1000) if found else None

    def forget(self, recording: int) -> bool:
        return bool(self._link.call("forget", recording))

    def forget_empty(self, seconds: float) -> int:
        young = first_at(time.time() - seconds)
        found = map(int, self._link.ask("ZDIFF", 2, "cortex:recordings", "cortex:done"))
        old = [id_ for id_ in found if id_ < young]
        some = (old[at : at + _SOME] for at in range(0, len(old), _SOME))
        return sum(int(self._link.call("abandon", int(seconds * 1000), *ids)) for ids in some)

    def sweep(self) -> bool:
        return False  # nothing is left of what was forgotten

    def keep_reserve(self) -> bool:
        memory = self._link.info("memory")
        limit = int(memory.get("maxmemory") or 0)
        return not limit or int(memory["used_memory"]) + _ROOM < limit

    def release_reserve(self) -> None:
        pass  # notices have a place when memory is full: see `link`
