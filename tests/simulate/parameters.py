"""What one unit of work costs: the figures that `measure` takes and the model reckons with."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

#: Measured on the machine that `about` names.
FILE = Path(__file__).with_name("parameters.json")


class ParametersError(Exception):
    """A file of parameters cannot be used."""


@dataclass(frozen=True)
class Parameters:
    """Costs; `us` are microseconds of CPU, `kb` 1000 bytes.

    Parameters
    ----------
    about : dict
        Machine, date, command, versions.
    own_ms, valkey_own_ms, server_own_ms : float
        Each second: of a collector with nothing to do, of Valkey for that collector, of a server.
    line_us, read_us, commit_us : float
        The collector's, of a line, of a piece that arrives from the cluster, of a commit.
    source_us, start_ms : float
        The same for a container and second, whatever it writes; and once, when it starts.
    probe_ms : float
        To ask whether a silent stream has stalled.
    share_us : float
        For each task of the whole fleet, each time a collector looks who has which.
    base_mb, source_kb, pod_kb : float
        The collector's memory: its own, for each container it reads, for each pod that it watches.
    valkey_line_us, valkey_commit_us, valkey_share_us : float
        What the same costs the Valkey server.
    line_bytes, entry_bytes, task_kb : float
        Its memory for a line of a large batch, for a commit that is not merged with others yet, for a task.
    event_us, send_us : float
        The server's: to read a batch from the store; to send it to one viewer.
    archive_start_ms, archive_line_us, archive_bytes, archive_requests : float
        Of the archiver: its start; a line; bytes of a line in the bucket; requests for a task.
    start_requests, end_requests : float
        Of the API server for a container that starts, and that ends.
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
        """Read a file.

        Raises
        ------
        ParametersError
        """
        again = "measure them anew with --measure"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            unknown, missing = found.keys() - _NAMES, _NAMES - found.keys()
        except (OSError, ValueError, AttributeError) as error:
            raise ParametersError(f"{path} cannot be read ({error}): {again}") from error
        if unknown or missing:
            raise ParametersError(f"{path}: unknown {sorted(unknown)}, missing {sorted(missing)}: {again}")
        for name in _NAMES - {"about"}:
            value = found[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ParametersError(f"{path}: {name} is {value!r}, and must be a number of 0 or more")
        return cls(**found)

    def save(self, path: Path = FILE) -> None:
        """Write a file."""
        rounded = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in asdict(self).items()}
        path.write_text(json.dumps(rounded, indent=1) + "\n")


_NAMES = {field.name for field in fields(Parameters)}
