"""Describe a Valkey server, and what it cannot promise with its present setup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store import HealthWarning
from cortex_jupyter.telemetry.logs import size_text

if TYPE_CHECKING:
    from cortex_jupyter.store.valkey.link import Link

#: Share of `maxmemory` above which to warn.
_NEARLY_FULL: Final = 0.9


def describe(link: Link, form: int) -> str:
    """Return a one-line description of a server."""
    server, memory = link.info("server"), link.info("memory")
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server.get("redis_version")
    used, limit = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
    room = f"{size_text(used)} of {size_text(limit)}" if limit else size_text(used)
    written = f"appendonly {_fsync(link)}".strip() if link.info("persistence").get("aof_enabled") else "no appendonly"
    replicas = int(link.info("replication").get("connected_slaves", 0))
    return f"form {form}, {name} {version}, {written}, {replicas} replicas, {room} of memory"


def health_warnings(link: Link) -> list[HealthWarning]:
    """Return what the server cannot promise, and what to do about it."""
    return [
        *_persistence_warnings(link.info("persistence"), _fsync(link)),
        *_replica_warnings(link),
        *_memory_warnings(link.info("memory")),
    ]


def _fsync(link: Link) -> str:
    try:
        answer = link.ask("CONFIG", "GET", "appendfsync")
    except StoreError:
        return ""  # an ACL may hide the settings from us
    values = [*answer.values()] if isinstance(answer, dict) else answer[1:]
    return str(values[0].decode() if isinstance(values[0], bytes) else values[0]) if values else ""


def _persistence_warnings(disk: dict[str, Any], fsync: str) -> list[HealthWarning]:
    if not disk.get("aof_enabled"):
        return [HealthWarning("a restart loses everything since its last snapshot", "CONFIG SET appendonly yes")]
    warnings = []
    if fsync == "no":
        warnings.append(
            HealthWarning("a power cut loses up to half a minute (appendfsync no)", "CONFIG SET appendfsync everysec")
        )
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if disk.get(name, "ok") != "ok"]
    if failed:
        warnings.append(
            HealthWarning(f"its last write to its disk failed ({', '.join(failed)})", "look at its disk and at its log")
        )
    return warnings


def _replica_warnings(link: Link) -> list[HealthWarning]:
    required, replication = link.address.replicas, link.info("replication")
    connected = int(replication.get("connected_slaves", 0))
    if connected < required:
        return [
            HealthWarning(
                f"{connected} of {required} replicas are connected",
                "start the missing replicas: nothing is recorded until they are connected",
                stops_recording=True,
            )
        ]
    replicas = [replication.get(f"slave{i}", {}) for i in range(connected)]
    filling = [
        replica for replica in replicas if isinstance(replica, dict) and replica.get("state", "online") != "online"
    ]
    if required and connected - len(filling) < required:
        text = f"{len(filling)} of {connected} replicas are still being filled"
        return [HealthWarning(text, "wait: nothing is recorded until they are", stops_recording=True)]
    return []


def _memory_warnings(memory: dict[str, Any]) -> list[HealthWarning]:
    used, limit, policy = int(memory["used_memory"]), int(memory.get("maxmemory") or 0), memory.get("maxmemory_policy")
    warnings = []
    if not limit:
        warnings.append(
            HealthWarning(
                "it has no memory limit: when the machine's memory is used up, the kernel kills it",
                "CONFIG SET maxmemory, about two thirds of the machine's",
            )
        )
    elif used > _NEARLY_FULL * limit:
        warnings.append(
            HealthWarning(
                f"{used / limit:.0%} of its memory limit is used",
                "raise `maxmemory`, lower CORTEX_STORE_MAX_BYTES, or set CORTEX_ARCHIVE: at the limit recording waits",
            )
        )
    if str(policy).startswith("volatile"):
        warnings.append(
            HealthWarning(
                f"at its memory limit it evicts heartbeats, and tasks change between recorders (maxmemory-policy {policy})",
                "CONFIG SET maxmemory-policy noeviction",
            )
        )
    return warnings
