"""Who records: heartbeats and wishes expire by the server's clock, so that those of several machines need not agree."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.recording.liveness import MACHINE, process_lives
from cortex_jupyter.recording.store import HEARTBEAT_S, Lease, Recorder

if TYPE_CHECKING:
    from cortex_jupyter.recording.valkey.link import Link


class Leases:
    """The part of `ValkeyStore` that knows recorders; `Store` says what each method does."""

    _link: Link

    def beat(self, recorder: Recorder) -> None:
        doc = orjson.dumps({"recorder": asdict(recorder), "machine": MACHINE})
        self._link.call("beat", recorder.id, recorder.cluster, doc, int(HEARTBEAT_S * 1000))

    def leave(self, owner: str) -> None:
        self._link.call("leave", owner)

    def recorder(self, cluster: str) -> Recorder | None:
        found = [self._recorder(id_.decode()) for id_ in self._link.ask("SMEMBERS", f"cortex:recorders:{cluster}")]
        return max((one for one, lives in found if one and lives), key=lambda one: one.heartbeat, default=None)

    def lease(self, recording: int, owner: str) -> Lease | None:
        holder = self._link.ask("HGET", f"cortex:{recording}", "owner")
        if holder is not None and holder.decode() != owner:
            recorder, lives = self._recorder(holder.decode())
            if recorder is not None and not lives:
                self.leave(recorder.id)
        epoch = self._link.call("lease", recording, owner)
        return None if epoch is None else Lease(recording, owner, int(epoch))

    def _recorder(self, id_: str) -> tuple[Recorder | None, bool]:
        """Give one whose heartbeat holds, and whether its process lives; one that we cannot see is taken to."""
        doc = self._link.ask("GET", f"cortex:recorder:{id_}")
        if doc is None:
            return None, False
        said = orjson.loads(doc)
        recorder = Recorder(**said["recorder"])
        return recorder, not MACHINE or said["machine"] != MACHINE or process_lives(recorder)
