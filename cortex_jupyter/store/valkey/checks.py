"""What a Valkey server is like, and what it cannot promise as it is set up: each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store import HealthWarning

if TYPE_CHECKING:
    from cortex_jupyter.store.valkey.link import Link

#: Of `maxmemory`: above it little is left for what comes.
_NEARLY: Final = 0.9


def about(link: Link, form: int) -> str:
    """Describe a server in a line."""
    server, memory = link.info("server"), link.info("memory")
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server.get("redis_version")
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
    room = f"{used / 1e6:.0f} of {most / 1e6:.0f} MB" if most else f"{used / 1e6:.0f} MB"
    written = f"appendonly {_fsync(link)}".strip() if link.info("persistence").get("aof_enabled") else "no appendonly"
    replicas = int(link.info("replication").get("connected_slaves", 0))
    return f"form {form}, {name} {version}, {written}, {replicas} replicas, {room} of memory"


def doubts(link: Link) -> list[HealthWarning]:
    """Give what is doubtful, and what to do about it."""
    return [*_written(link.info("persistence"), _fsync(link)), *_copied(link), *_memory(link.info("memory"))]


def _fsync(link: Link) -> str:
    try:
        found = link.ask("CONFIG", "GET", "appendfsync")
    except StoreError:
        return ""  # an ACL may keep its settings from us
    values = [*found.values()] if isinstance(found, dict) else found[1:]
    return str(values[0].decode() if isinstance(values[0], bytes) else values[0]) if values else ""


def _written(disk: dict[str, Any], fsync: str) -> list[HealthWarning]:
    if not disk.get("aof_enabled"):
        return [
            HealthWarning(
                "it forgets what came after its last snapshot when it is started again", "CONFIG SET appendonly yes"
            )
        ]
    found = []
    if fsync == "no":
        found.append(
            HealthWarning(
                "a power cut costs it up to half a minute (appendfsync no)", "CONFIG SET appendfsync everysec"
            )
        )
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if disk.get(name, "ok") != "ok"]
    if failed:
        found.append(
            HealthWarning(f"its last write to its disk failed ({', '.join(failed)})", "look at its disk and at its log")
        )
    return found


def _copied(link: Link) -> list[HealthWarning]:
    wanted, replication = link.address.replicas, link.info("replication")
    have = int(replication.get("connected_slaves", 0))
    if have < wanted:
        return [
            HealthWarning(f"{have} of {wanted} replicas are there", "bring them back: nothing is recorded", stops=True)
        ]
    replicas = [replication.get(f"slave{i}", {}) for i in range(have)]
    behind = [one for one in replicas if isinstance(one, dict) and one.get("state", "online") != "online"]
    if wanted and have - len(behind) < wanted:
        text = f"{len(behind)} of {have} replicas are still being filled"
        return [HealthWarning(text, "wait: nothing is recorded until they are", stops=True)]
    return []


def _memory(memory: dict[str, Any]) -> list[HealthWarning]:
    used, most, policy = int(memory["used_memory"]), int(memory.get("maxmemory") or 0), memory.get("maxmemory_policy")
    found = []
    if not most:
        found.append(HealthWarning("it has no memory limit: where the machine's memory ends, the kernel ends it", "CONFIG SET maxmemory, about two thirds of the machine's"))  # fmt: skip
    elif used > _NEARLY * most:
        found.append(HealthWarning(f"{used / most:.0%} of its memory limit is used", "raise `maxmemory`, lower CORTEX_STORE_MAX_BYTES, or set CORTEX_ARCHIVE: at the limit recording waits"))  # fmt: skip
    if str(policy).startswith("volatile"):
        found.append(HealthWarning(f"at its memory limit it throws heartbeats away, and tasks change hands (maxmemory-policy {policy})", "CONFIG SET maxmemory-policy noeviction"))  # fmt: skip
    return found
