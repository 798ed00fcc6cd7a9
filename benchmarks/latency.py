# SPDX-License-Identifier: Apache-2.0
"""
How long after the poll that returned it a record is visible, caught up, at a steady rate.

The message timestamp is our clock when the poll's answer was complete; the reader is in
this process, on the same clock, and reads as read_committed.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from benchmarks.contenders import Ground, connector_command, topic_of
from benchmarks.measure import PARTITIONS
from connector.sandbox.simulators.runner import SimulatorProcess

RATE = 100.0
POLL_INTERVAL = "200ms"
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Latency:
    """
    Milliseconds from the poll's answer to the reader.
    """

    records: int
    p50: float
    p99: float
    highest: float


def measure(ground: Ground, simulator: SimulatorProcess, prefix: str, *, seconds: float) -> Latency:
    """
    Measure for some seconds, after some to settle.

    Raises:
        RuntimeError: Nothing arrived.
    """
    command, environment = connector_command(
        ground, prefix, MONETAGO_START="now", MONETAGO_POLL_INTERVAL=POLL_INTERVAL
    )
    topic = topic_of(prefix)
    consumer = Consumer(
        {
            "bootstrap.servers": ground.sandbox.bootstrap_servers,
            "group.id": "benchmark-latency",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    with (ground.folder / f"{prefix}log").open("wb") as output:
        worker = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            simulator.generate("monetago", rate=RATE, late=0.0)
            waits = _collect(consumer, seconds)
        finally:
            simulator.quiet("monetago")
            worker.terminate()
            worker.wait(60)
            consumer.close()
    if len(waits) < 100:
        raise RuntimeError(f"{topic}: only {len(waits)} records came")
    waits.sort()
    last = len(waits) - 1
    return Latency(len(waits), waits[last // 2], waits[last * 99 // 100], waits[last])


def _collect(consumer: Consumer, seconds: float) -> list[float]:
    waits: list[float] = []
    first: float | None = None
    give_up = time.time() + seconds + 60
    while time.time() < give_up:
        message = consumer.poll(0.1)
        now = time.time()
        if message is None or message.error() is not None:
            continue
        if first is None:
            first = now
        if now - first > _SETTLE_SECONDS + seconds:
            break
        if now - first > _SETTLE_SECONDS:
            waits.append(now * 1000 - message.timestamp()[1])
    return waits
