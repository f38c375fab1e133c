"""Legal holds and deletions in a Valkey store: hashes beside the recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.store.deletion import Deletion, DeletionStore, Hold, legal_hold_error, still_recorded_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.store.valkey.link import Link

_REMAINS: Final = (
    "the server's append-only file and snapshots, until BGREWRITEAOF and BGSAVE have replaced them; "
    "older snapshots, backups and replicas' files as long as you keep them"
)


class Deletions(DeletionStore):
    """The part of `ValkeyStore` for holds and deletions; `DeletionStore` documents each method."""

    _link: Link

    def holds(self) -> dict[int, Hold]:
        return {int(id_): Hold.decode(text) for id_, text in self._link.ask("HGETALL", "cortex:holds").items()}

    def set_hold(self, recording: int, hold: Hold | None) -> bool:
        if hold is None:
            self._link.ask("HDEL", "cortex:holds", recording)
            return True
        return bool(self._link.secured("hold", recording, hold.encode()))

    def deletion(self, recording: int) -> Deletion | None:
        text = self._link.ask("HGET", "cortex:deleted", recording)
        return Deletion.decode(text) if text else None

    def deletion_of_task(self, name: str) -> Deletion | None:
        """Return the deletion of a task that is not to be recorded again, by its unique name; of any task, by its short name."""
        recording = self._link.ask("HGET", "cortex:deleted-tasks", name)
        return self.deletion(int(recording)) if recording else None

    def last_deletion(self, namespace: str, name: str) -> Deletion | None:
        return self.deletion_of_task(f"{namespace}/{name}")

    def deletions(self) -> list[Deletion]:
        return [Deletion.decode(text) for text in self._link.ask("HGETALL", "cortex:deleted").values()]

    def delete(self, deletion: Deletion, *, ignore_lease: bool = False) -> None:
        names = (deletion.short_name, deletion.task_name)
        flags = (int(deletion.blocks), int(ignore_lease))
        refusal = self._link.secured("delete", deletion.id, deletion.encode(), *names, *flags)
        if refusal == b"held":
            raise legal_hold_error(deletion.ref, self.holds()[deletion.id])
        if refusal:
            raise still_recorded_error()

    def close_deletions(self, deletions: Iterable[Deletion]) -> None:
        for deletion in deletions:
            self._link.ask("HSET", "cortex:deleted", deletion.id, deletion.closed().encode())

    def allow_again(self, deletion: Deletion) -> None:
        self._link.ask("HDEL", "cortex:deleted-tasks", deletion.task_name)
        self._link.ask("HDEL", "cortex:deleted", deletion.id)

    def purge(self) -> str:
        return _REMAINS
