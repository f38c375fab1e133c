"""Recorders and leases. Heartbeats and wishes expire by the server's clock, so the machines' clocks need not agree."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.model import MAX_EPOCHS
from cortex_jupyter.store import HEARTBEAT_S, NEWER_FIELDS, Lease, LeaseStore, RecorderInfo, liveness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.store.valkey.link import Link

#: Recordings per request: the server answers no other request meanwhile.
_PER_REQUEST: Final = 2000
#: How many of the newest recordings name the clusters of a store.
_NEWEST: Final = 500


class Leases(LeaseStore):
    """The part of `ValkeyStore` for recorders and leases; `LeaseStore` documents each method."""

    _link: Link

    def beat(self, recorder: RecorderInfo) -> None:
        fields = asdict(recorder)
        # The newer fields are kept apart, since older programs pass all of `recorder` to their constructor.
        more = {name: fields.pop(name) for name in NEWER_FIELDS}
        doc = orjson.dumps({"recorder": fields, "machine": liveness.MACHINE} | more)
        self._link.call("beat", recorder.id, recorder.cluster, doc)

    def leave(self, owner: str) -> None:
        self._link.call("leave", owner)

    def recorders(self, cluster: str) -> list[RecorderInfo]:
        ids = [id_.decode() for id_ in self._link.ask("SMEMBERS", f"cortex:recorders:{cluster}")]
        living = [recorder for recorder, lives in map(self._recorder, ids) if recorder and lives]
        # Computed from the time to expiry, so by the server's clock.
        return [replace(r, heartbeat=time.time() - HEARTBEAT_S + self._remaining_s(r.id)) for r in living]

    def collectors_elsewhere(self, cluster: str) -> dict[str, int]:
        newest = self._link.ask("ZRANGE", "cortex:recordings", 0, _NEWEST - 1, "REV")
        rows = self._link.call("infos", 1, "cluster", *newest) if newest else []
        names = {str(orjson.loads(row[2])) for row in rows if row[2]} - {cluster}
        numbers = {name: sum(1 for recorder in self.recorders(name) if recorder.selection) for name in names}
        return {name: number for name, number in numbers.items() if number}

    def _remaining_s(self, id_: str) -> float:
        """Return how many seconds a heartbeat still holds."""
        return max(0.0, int(self._link.ask("PTTL", f"cortex:recorder:{id_}")) / 1000)

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        ids = [*recordings]
        owners: dict[int, str] = {}
        for at in range(0, len(ids), _PER_REQUEST):
            rows = self._link.call("holders", *ids[at : at + _PER_REQUEST])
            owners |= {int(id_): owner.decode() for id_, owner in rows}
        living = {owner for owner in set(owners.values()) if owner and self._recorder(owner)[1]}
        return {id_: owner if owner in living else "" for id_, owner in owners.items()}

    def release(self, lease: Lease) -> None:
        self._link.call("release", lease.recording, lease.owner, lease.epoch)

    def lease(self, recording: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
        holder = (self._link.ask("HGET", f"cortex:{recording}", "owner") or b"").decode()
        previous = "" if holder == owner else holder
        if previous:
            recorder, lives = self._recorder(previous)
            if recorder is not None and not lives:
                self.leave(recorder.id)
            elif assume_alive:
                return None
        epoch = self._link.call("lease", recording, owner, last_written, MAX_EPOCHS)
        return None if epoch is None else Lease(recording, owner, int(epoch), previous)

    def _recorder(self, id_: str) -> tuple[RecorderInfo | None, bool]:
        """Return a recorder whose heartbeat holds, and whether its process lives.

        A process that is not visible from here counts as living.
        """
        doc = self._link.call("recorder", id_)
        if doc is None:
            return None, False
        fields = orjson.loads(doc)
        recorder = RecorderInfo.of((*fields["recorder"].values(),), fields)
        return recorder, liveness.process_lives(recorder, fields["machine"])
