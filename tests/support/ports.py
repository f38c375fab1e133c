"""Ports for servers of the tests."""

from __future__ import annotations

import random
import socket
from typing import Final

#: Below the ports that Linux gives to outgoing connections (`net.ipv4.ip_local_port_range`, 32768 to 60999): while a server
#: is restarted on its port, no connection of another test takes it.
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
