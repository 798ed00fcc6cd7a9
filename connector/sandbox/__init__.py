# SPDX-License-Identifier: Apache-2.0
"""
A real Kafka and a real registry on this computer, with nothing but Python.
"""

from __future__ import annotations

from connector.sandbox.broker import FAST_START, THROUGHPUT, KafkaCluster
from connector.sandbox.process import Server, free_port
from connector.sandbox.registry import Registry
from connector.sandbox.sandbox import Sandbox

__all__ = (
    "FAST_START",
    "THROUGHPUT",
    "KafkaCluster",
    "Registry",
    "Sandbox",
    "Server",
    "free_port",
)
