# SPDX-License-Identifier: Apache-2.0
"""
Free ports of the loopback address.
"""

from __future__ import annotations

import secrets
import socket

from connector.errors import OutsideError

# Below what systems give to clients by themselves: else some client's own end may sit
# on the port of a broker that is down, and a client that asks for it meets itself.
PORTS = range(20000, 32000)

# What was given out, since its server may not listen yet when the next is asked for.
_given: set[int] = set()


def free_port() -> int:
    """
    Find a TCP port on which nobody listens; never the same twice in a process.

    Raises:
        OutsideError: Every port that was tried is taken.
    """
    for _ in range(100):
        port = secrets.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            # What servers do: a connection that was closed just now is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OutsideError(
        f"No free port was found from {PORTS.start} to {PORTS.stop} on 127.0.0.1. "
        "End other sandboxes and try again."
    )
