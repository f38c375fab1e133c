"""How a completed recording leaves a Valkey store: at once, its memory is freed by a thread of the server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.recording.store.budget import MOST_AGE_S, Budget

if TYPE_CHECKING:
    from cortex_jupyter.recording.valkey.link import Link

#: Of the server's memory recordings take this share where nothing is set: replication, the append-only file and others
#: need theirs.
_SHARE: Final = 0.6
#: So much has to be free before recording goes on.
_ROOM: Final = 1 << 20


class Leaving:
    """The part of `ValkeyStore` that deletes; `Store` says what each method does."""

    _link: Link

    def budget(self) -> Budget:
        memory = self._link.info("memory")
        whole = int(memory.get("maxmemory") or 0) or int(memory.get("total_system_memory") or 0)
        return self._set().over(Budget(int(whole * _SHARE), MOST_AGE_S))

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        held = self._set()
        wish = held.over(budget) if weak else budget.over(held)
        for name, value in (("max_bytes", wish.max_bytes), ("max_age_s", wish.max_age_s)):
            if value is not None and getattr(held, name) != value:
                self.set_setting(name, str(value))

    def _set(self) -> Budget:
        size, age = self.setting("max_bytes"), self.setting("max_age_s")
        return Budget(int(size) if size else None, float(age) if age else None)

    def setting(self, name: str) -> str:
        value: bytes | None = self._link.ask("HGET", "cortex:settings", name)
        return "" if value is None else value.decode()

    def set_setting(self, name: str, value: str) -> None:
        self._link.ask("HSET", "cortex:settings", name, value)

    def unarchived(self, url: str) -> list[int]:
        done = [id_.decode() for id_ in self._link.ask("ZRANGE", "cortex:done", 0, -1)]
        if not done:
            return []
        where: list[Any] = self._link.ask("HMGET", "cortex:settings", *(f"archived:{id_}" for id_ in done))
        return [int(id_) for id_, at in zip(done, where, strict=True) if at is None or at.decode() != url]

    def archived(self, recording: int, url: str) -> None:
        self.set_setting(f"archived:{recording}", url)

    def used(self) -> int:
        return int(self._link.ask("GET", "cortex:bytes") or 0)

    def bytes_of(self, recording: int) -> int:
        return int(self._link.ask("HGET", f"cortex:{recording}", "bytes") or 0)

    def oldest(self) -> tuple[int, float] | None:
        found = self._link.call("oldest")
        return None if found is None else (int(found[0]), float(found[1]) / 1000)

    def forget(self, recording: int) -> bool:
        return bool(self._link.call("forget", recording))

    def sweep(self) -> bool:
        return False  # nothing is left of what was forgotten

    def keep_reserve(self) -> bool:
        memory = self._link.info("memory")
        limit = int(memory.get("maxmemory") or 0)
        return not limit or int(memory["used_memory"]) + _ROOM < limit

    def release_reserve(self) -> None:
        pass  # notices have a place when memory is full: see `link`
