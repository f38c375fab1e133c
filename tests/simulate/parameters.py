"""Costs per unit of work, which `measure` measures and the model uses."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

#: The costs that were measured on the machine that `about` names.
FILE = Path(__file__).with_name("parameters.json")


class ParametersError(Exception):
    """A file of parameters cannot be used."""


@dataclass(frozen=True)
class Parameters:
    """Costs per unit of work. `us` are microseconds of CPU, `kb` 1000 bytes.

    Parameters
    ----------
    about : dict
        Machine, date, command, versions.
    own_ms, valkey_own_ms, server_own_ms : float
        CPU per second of an idle collector, of Valkey for an idle collector, and of an idle server.
    line_us, read_us, commit_us : float
        CPU of the collector for a line, for a chunk that arrives from the cluster, and for a commit.
    source_us, start_ms : float
        CPU of the collector for each container: per second, even if it is silent, and once at its start.
    probe_ms : float
        CPU of the collector to check whether a silent stream has stalled.
    share_us : float
        CPU of the collector, per task of the whole fleet, to read which collector records which task.
    base_mb, source_kb, pod_kb : float
        Memory of the collector: at rest, for each container that it reads, and for each pod that it watches.
    valkey_line_us, valkey_commit_us, valkey_share_us : float
        CPU of Valkey for the same work.
    line_bytes, entry_bytes, task_kb : float
        Memory of Valkey for a line in a large batch, for a commit that is not merged yet, and for a task.
    event_us, send_us : float
        CPU of the server to read a batch from the store, and to send it to one viewer.
    archive_start_ms, archive_line_us, archive_bytes, archive_requests : float
        Costs of the archiver: CPU of its start and of a line, bytes in the bucket per line, requests per task.
    start_requests, end_requests : float
        Requests to the API server when a container starts, and when it ends.
    """

    about: dict[str, str]
    own_ms: float
    valkey_own_ms: float
    server_own_ms: float
    line_us: float
    read_us: float
    commit_us: float
    source_us: float
    start_ms: float
    probe_ms: float
    share_us: float
    base_mb: float
    source_kb: float
    pod_kb: float
    valkey_line_us: float
    valkey_commit_us: float
    valkey_share_us: float
    line_bytes: float
    entry_bytes: float
    task_kb: float
    event_us: float
    send_us: float
    archive_start_ms: float
    archive_line_us: float
    archive_bytes: float
    archive_requests: float
    start_requests: float
    end_requests: float

    @classmethod
    def load(cls, path: Path = FILE) -> Parameters:
        """Read the costs from a JSON file.

        Raises
        ------
        ParametersError
        """
        hint = "measure the costs again with --measure"
        try:
            values: dict[str, Any] = json.loads(path.read_text())
            unknown, missing = values.keys() - _NAMES, _NAMES - values.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise ParametersError(f"{path} cannot be read ({error}): {hint}") from error
        if unknown or missing:
            raise ParametersError(f"{path}: unknown {sorted(unknown)}, missing {sorted(missing)}: {hint}")
        for name in _NAMES - {"about"}:
            value = values[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ParametersError(f"{path}: {name} is {value!r}, and must be a number of 0 or more")
        return cls(**values)

    def save(self, path: Path = FILE) -> None:
        """Write the costs to a JSON file, with three significant digits."""
        rounded = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in asdict(self).items()}
        path.write_text(json.dumps(rounded, indent=1) + "\n")


_NAMES = {field.name for field in fields(Parameters)}
