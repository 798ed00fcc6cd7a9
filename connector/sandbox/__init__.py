# SPDX-License-Identifier: Apache-2.0
"""
A real Kafka and a real registry on this computer, with nothing but Python.
"""

from __future__ import annotations

from connector.sandbox.broker import KafkaCluster
from connector.sandbox.java import FAST_START, THROUGHPUT
from connector.sandbox.ports import free_port
from connector.sandbox.progress import Progress
from connector.sandbox.registry import Registry
from connector.sandbox.sandbox import Sandbox
from connector.sandbox.server import Server

__all__ = (
    "FAST_START",
    "THROUGHPUT",
    "KafkaCluster",
    "Progress",
    "Registry",
    "Sandbox",
    "Server",
    "free_port",
)
