# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from connector.sandbox import Sandbox


class Cluster(NamedTuple):
    """
    A real broker and a real registry that all tests share; topics have names of their own.
    """

    bootstrap_servers: str
    registry_url: str


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """
    Start the sandbox, or take what TEST_BOOTSTRAP_SERVERS and TEST_REGISTRY_URL name.
    """
    servers = os.environ.get("TEST_BOOTSTRAP_SERVERS")
    if servers:
        yield Cluster(servers, os.environ.get("TEST_REGISTRY_URL", ""))
        return
    with Sandbox() as sandbox:
        yield Cluster(sandbox.bootstrap_servers, sandbox.registry_url)
