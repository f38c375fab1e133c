"""Who records: heartbeats and wishes expire by the server's clock, so that those of several machines need not agree."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.model import MOST_EPOCHS
from cortex_jupyter.store import HEARTBEAT_S, NEWER_FIELDS, Lease, RecorderInfo, liveness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.store.valkey.link import Link

#: Recordings that are asked for at once: the server answers nobody else meanwhile.
_SOME: Final = 2000


class Leases:
    """The part of `ValkeyStore` that knows recorders; `Store` says what each method does."""

    _link: Link

    def beat(self, recorder: RecorderInfo) -> None:
        known = asdict(recorder)
        # Apart: programs of older versions take the rest as it comes.
        more = {name: known.pop(name) for name in NEWER_FIELDS}
        doc = orjson.dumps({"recorder": known, "machine": liveness.MACHINE} | more)
        self._link.call("beat", recorder.id, recorder.cluster, doc)

    def leave(self, owner: str) -> None:
        self._link.call("leave", owner)

    def recorders(self, cluster: str) -> list[RecorderInfo]:
        ids = [id_.decode() for id_ in self._link.ask("SMEMBERS", f"cortex:recorders:{cluster}")]
        found = [one for one, lives in map(self._recorder, ids) if one and lives]
        # By the server's clock, as it expires.
        return [replace(one, heartbeat=time.time() - HEARTBEAT_S + self._left(one.id)) for one in found]

    def _left(self, id_: str) -> float:
        """Give for how long a heartbeat still holds, seconds."""
        return max(0.0, int(self._link.ask("PTTL", f"cortex:recorder:{id_}")) / 1000)

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        some = [*recordings]
        found: dict[int, str] = {}
        for at in range(0, len(some), _SOME):
            rows = self._link.call("holders", *some[at : at + _SOME])
            found |= {int(id_): owner.decode() for id_, owner in rows}
        living = {owner for owner in set(found.values()) if owner and self._recorder(owner)[1]}
        return {id_: owner if owner in living else "" for id_, owner in found.items()}

    def release(self, lease: Lease) -> None:
        self._link.call("release", lease.recording, lease.owner, lease.epoch)

    def lease(self, recording: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
        holder = self._link.ask("HGET", f"cortex:{recording}", "owner")
        if holder is not None and holder.decode() != owner:
            recorder, lives = self._recorder(holder.decode())
            if recorder is not None and not lives:
                self.leave(recorder.id)
            elif assume_alive:
                return None
        epoch = self._link.call("lease", recording, owner, last_written, MOST_EPOCHS)
        return None if epoch is None else Lease(recording, owner, int(epoch))

    def _recorder(self, id_: str) -> tuple[RecorderInfo | None, bool]:
        """Give one whose heartbeat holds, and whether its process lives; one that we cannot see is taken to."""
        doc = self._link.call("recorder", id_)
        if doc is None:
            return None, False
        said = orjson.loads(doc)
        recorder = RecorderInfo.of((*said["recorder"].values(),), said)
        return recorder, liveness.process_lives(recorder, said["machine"])
