"""Free ports for the tests' servers."""

from __future__ import annotations

import random
import socket
from typing import Final

#: Below the range that Linux uses for outgoing connections (`net.ipv4.ip_local_port_range`, 32768 to 60999), so that no
#: connection of another test takes a server's port while the server restarts.
_RANGE: Final = (20_000, 32_000)


def free_port() -> int:
    """Return a port that no process listens on."""
    while True:
        port = random.randint(*_RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
