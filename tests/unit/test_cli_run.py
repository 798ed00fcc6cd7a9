# SPDX-License-Identifier: Apache-2.0
"""
What ``connector run`` says when its admin port cannot be had.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from connector.cli.run import cannot_listen


async def _fail(host: str, port: int) -> OSError:
    """
    Listen where that cannot work.
    """
    with pytest.raises(OSError, match=r".") as failure:
        await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    return failure.value


async def test_a_port_that_is_taken_is_the_ports_fault() -> None:
    """
    The text names the port and what to do about it.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = str(cannot_listen(await _fail("127.0.0.1", taken.getsockname()[1])))

    assert text.startswith("CONNECTOR_ADMIN_PORT: cannot listen there (")
    assert "address already in use" in text
    assert text.endswith("Take a free port; 0 takes any.")


async def test_an_address_of_another_machine_is_the_hosts_fault() -> None:
    """
    The text names the host and what to do about it.
    """
    text = str(cannot_listen(await _fail("192.0.2.1", 0)))

    assert text.startswith("CONNECTOR_ADMIN_HOST: cannot listen there (")
    assert "Name an address of this machine" in text


def test_a_host_that_does_not_exist_is_the_hosts_fault() -> None:
    """
    The resolver's own words are shown: its numbers are none of the system's.
    """
    failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert str(cannot_listen(failure)).startswith(
        "CONNECTOR_ADMIN_HOST: cannot listen there (Name or service not known)."
    )


def test_a_forbidden_port_is_the_ports_fault() -> None:
    """
    A port below 1024 without the right to it.
    """
    failure = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    assert str(cannot_listen(failure)).startswith("CONNECTOR_ADMIN_PORT: cannot listen there")
