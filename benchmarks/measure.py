# SPDX-License-Identifier: Apache-2.0
"""
Measuring from outside, with one method for all contenders.

A topic's last stable offsets, summed, say what a read_committed reader can see; a marker
of a transaction counts as one. Their last change is the moment at which the last record
became visible.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

PARTITIONS = 6
_SAMPLE_SECONDS = 0.02
# The longest pause of a contender that is not at its end.
_QUIET_SECONDS = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One look.

    Attributes:
        at: Seconds since 1970.
        visible: Sum of the topic's last stable offsets.
        cpu: CPU seconds so far: contender, broker, simulator.
    """

    at: float
    visible: int
    cpu: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """
    What one run took.

    Attributes:
        seconds: From the first request for a page to the last record's visibility.
        records: How many records that were.
        cpu: CPU seconds of the contender in this time.
        broker: Share of one core that the broker used.
        simulator: Share of one core that the simulated provider used.
        memory: The contender's largest resident size, MiB.
        load: The computer's load at the end (1 minute).
    """

    seconds: float
    records: int
    cpu: float
    broker: float
    simulator: float
    memory: float
    load: float

    @property
    def rate(self) -> float:
        """
        Records a second.
        """
        return self.records / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """
        CPU seconds for a million records.
        """
        return self.cpu / self.records * 1e6


def cpu_seconds(pid: int) -> float:
    """
    Tell the CPU time of a process and all its threads (proc(5): utime, stime).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mib(pid: int) -> float:
    """
    Tell the largest resident size of a process so far, 0 if it is gone.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def visible(admin: AdminClient, topic: str) -> int:
    """
    Sum the last stable offsets of a topic.
    """
    wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(PARTITIONS)}
    answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED)
    return sum(answer.result(60).offset for answer in answers.values())


def await_leaders(admin: AdminClient, topic: str, limit: float = 15.0) -> None:
    """
    Wait until a new topic's partitions can be asked and written.

    Raises:
        KafkaException: They still cannot.
    """
    give_up = time.monotonic() + limit
    while True:
        try:
            # Asks the broker anew: without it librdkafka believes its cache for long.
            admin.list_topics(topic, timeout=10)
            visible(admin, topic)
        except KafkaException:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            return


def watch(
    admin: AdminClient,
    topic: str,
    *,
    records: int,
    pids: tuple[int, int, int],
    alive: Callable[[], bool],
    limit: float = 300.0,
) -> tuple[list[Sample], float]:
    """
    Watch a topic until all records are visible and nothing comes any more.

    Args:
        admin: To ask with.
        topic: The empty topic that is written to.
        records: How many records will come.
        pids: The contender, the broker, the simulator.
        alive: Whether the contender is well.
        limit: Seconds after which it is given up.

    Returns:
        The samples, and the contender's largest resident size in MiB.

    Raises:
        RuntimeError: The contender ended or stood still before all was visible.
    """
    samples: list[Sample] = []
    began = changed = time.time()
    memory, last = 0.0, -1
    while True:
        now = time.time()
        cpu = [cpu_seconds(pid) for pid in pids]
        if cpu[0] == 0.0 and samples:
            cpu[0] = samples[-1].cpu[0]
        memory = max(memory, peak_mib(pids[0]))
        found = visible(admin, topic)
        samples.append(Sample(time.time(), found, tuple(cpu)))
        if found != last:
            last, changed = found, now
        elif found >= records and now - changed > _QUIET_SECONDS:
            return samples, memory
        if (found < records and not alive()) or now - began > limit:
            raise RuntimeError(f"{topic}: ended at {found} of {records} records")
        time.sleep(_SAMPLE_SECONDS)


def judge(samples: list[Sample], memory: float, *, began: float, records: int) -> Timing:
    """
    Turn samples into a timing.

    Args:
        samples: Of one run, to its end.
        memory: MiB.
        began: When the first page was answered, seconds since 1970.
        records: How many records there are.
    """
    end = next(each for each in samples if each.visible == samples[-1].visible)
    begin = max((each for each in samples if each.at <= began), key=lambda each: each.at)
    seconds = end.at - began
    used = [late - early for early, late in zip(begin.cpu, end.cpu, strict=True)]
    return Timing(
        seconds=seconds,
        records=records,
        cpu=used[0],
        broker=used[1] / seconds,
        simulator=used[2] / seconds,
        memory=memory,
        load=os.getloadavg()[0],
    )
