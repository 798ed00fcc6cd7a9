# SPDX-License-Identifier: Apache-2.0
"""
Both feeds on one or more workers that suffer, watched by a reader that runs all the time.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from connector.sandbox import Sandbox
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.checker import Verdict, judge
from tests.integration.offered import AsOffered, ByEventTime, Offered, Order, from_ledger
from tests.integration.seeing import RunningReader, Seen, read_all, read_offsets
from tests.integration.workers import Worker, eventually, settings

RUNNING = "running"


class AsShown(AsOffered):
    """
    The order in which Stedi shows transactions: as they became visible.
    """

    def rank(self, offered: Offered) -> int:
        return offered.visible_at


class Stream(NamedTuple):
    """
    One of the two feeds: its provider and the rest of its topic's name.
    """

    provider: str
    name: str

    @property
    def source_partition(self) -> str:
        return f"{self.provider}/{self.name}"


MONETAGO = Stream("monetago", "activity")
STEDI = Stream("stedi", "transactions")


class Scene:
    """
    What one test plays on: settings of its own, simulators, and the reader that watches.

    Args:
        sandbox: Where Kafka and the registry are.
        simulator: The simulated providers.
        changes: Variables that are other than here, lower case.
    """

    def __init__(
        self, sandbox: Sandbox, simulator: SimulatorProcess, **changes: str | None
    ) -> None:
        self.simulator = simulator
        self.began_ms = time.time_ns() // 1_000_000
        # Stedi keeps its transactions back for 15 s, which no test of ours is about.
        simulator.configure("stedi", hold_back=0.0)
        quick = {
            "connector_topic_partitions": "2",
            "connector_kafka_session_timeout_ms": "1500",
            "monetago_poll_interval": "200ms",
            "stedi_poll_interval": "200ms",
        }
        self.environment = settings(sandbox, simulator.env(), **{**quick, **changes})
        self.bootstrap = sandbox.bootstrap_servers
        self.streams = [
            stream
            for stream in (MONETAGO, STEDI)
            if stream.provider in self.environment["CONNECTOR_SOURCES"].split(",")
        ]
        self.reader = RunningReader(self.bootstrap, *self.data_topics)

    def topic(self, name: str) -> str:
        return f"{self.environment['CONNECTOR_TOPIC_PREFIX']}{name}"

    @property
    def data_topics(self) -> list[str]:
        return [self.topic(f"{stream.provider}.{stream.name}") for stream in self.streams]

    @property
    def offsets_topic(self) -> str:
        return self.topic("c.offsets")

    @property
    def dead_letters_topic(self) -> str:
        return self.topic("c.dead-letters")

    def come(self, rate: float = 40.0, **words: float) -> None:
        """
        Let events come from all providers: bursts, equal times, late ones.
        """
        rhythm = {"rate": rate, "burst": 0.01, "equal": 0.2, "late": 0.1, "late_by": 3.0, **words}
        for stream in self.streams:
            self.simulator.generate(stream.provider, **rhythm)

    def quiet(self) -> None:
        """
        Let no more events come.
        """
        for stream in self.streams:
            self.simulator.quiet(stream.provider)

    def offered(self, stream: Stream) -> list[Offered]:
        return from_ledger(self.simulator.ledger(stream.provider))

    def wait_delivered(self, timeout: float = 40.0) -> None:
        """
        Wait until the running reader has seen what the providers offered up to now.
        """
        wanted = {
            str(event["id"])
            for stream in self.streams
            for event in self.simulator.ledger(stream.provider, body=False)
        }
        self.reader.wait_for(lambda seen: wanted <= {str(s.id) for s in seen}, timeout)

    def wait_more(self, count: int = 1, timeout: float = 40.0) -> None:
        """
        Wait until the running reader has seen so many records more than now.
        """
        goal = len(self.reader.seen()) + count
        self.reader.wait_for(lambda seen: len(seen) >= goal, timeout)

    def judge(self) -> Mapping[str, Verdict]:
        """
        Stop the reader and judge both topics; an empty answer means that all is right.
        """
        running = self.reader.stop()
        offsets = read_offsets(self.bootstrap, self.offsets_topic)
        verdicts = {}
        for stream, topic in zip(self.streams, self.data_topics, strict=True):
            late = read_all(self.bootstrap, topic, self.dead_letters_topic)
            verdicts[topic] = judge(
                self.offered(stream),
                late,
                topic=topic,
                dead_letters=self.dead_letters_topic,
                running=[seen for seen in running if seen.topic == topic],
                order=self._order(stream),
                check_offset=lambda records, stream=stream: self._offset_is_newest(
                    stream, records, offsets
                ),
            )
        return verdicts

    def assert_exact(self) -> None:
        """
        Judge, and fail with what is wrong.
        """
        verdicts = self.judge()
        wrong = {topic: str(verdict) for topic, verdict in verdicts.items() if not verdict.ok}
        assert wrong == {}
        assert all(verdict.delivered > 0 for verdict in verdicts.values())

    def _order(self, stream: Stream) -> Order:
        if stream is STEDI:
            return AsShown()
        return ByEventTime(started_ms=self.began_ms, walk_ms=15_000)

    def _offset_is_newest(
        self, stream: Stream, records: Sequence[Seen], offsets: Mapping[str, Any]
    ) -> Iterable[str]:
        """
        Compare what is stored with the newest record: its number, and Stedi's own token.
        """
        if offsets.get(stream.source_partition, {}).get("offset") is None:
            yield f"no offset of {stream.source_partition} is stored"
            return
        if records:
            last = max(tuple(map(int, seen.headers["seq"].split(".")[1:])) for seen in records)
            counters = [
                (value["epoch"], value["counters"][records[0].topic])
                for value in self._shards().values()
                if records[0].topic in value["counters"]
            ]
            if max(counters) != last:
                yield f"{stream.source_partition}: counted {counters}, newest record {last}"
        if stream is STEDI and (more := self._behind(offsets)):
            yield f"{more} transactions lie behind the stored token"

    def _shards(self) -> dict[int, Any]:
        """
        Read the record of each shard; all have the same key, in partitions of their own.
        """
        return {
            seen.partition: json.loads(seen.value or b"")
            for seen in read_all(self.bootstrap, self.offsets_topic)
            if seen.key == "$shard"
        }

    def _behind(self, offsets: Mapping[str, Any]) -> int:
        """
        Ask Stedi itself what lies behind the stored token.
        """
        env = self.simulator.env()
        token = offsets[STEDI.source_partition]["offset"].get("token")
        request = Request(
            f"{env['STEDI_BASE_URL']}/polling/transactions?pageToken={token}",
            headers={"Authorization": f"Key {env['STEDI_API_KEY']}"},
        )
        with urlopen(request, timeout=15) as answer:
            return len(json.load(answer)["items"])


@contextmanager
def watched(
    sandbox: Sandbox, simulator: SimulatorProcess, **changes: str | None
) -> Iterator[Scene]:
    """
    Make a scene whose reader ends with it.
    """
    scene = Scene(sandbox, simulator, **changes)
    scene.reader.start()
    try:
        yield scene
    finally:
        scene.reader.end()


def owned(worker: Worker) -> set[int]:
    """
    Tell which shards a worker serves by its own word; none if it does not answer.
    """
    try:
        shards = worker.status()["shards"]
    except OSError:
        return set()
    return {shard["shard"] for shard in shards if shard["stage"] == RUNNING}


def wait_shared(
    workers: Sequence[Worker], shards: int = 8, timeout: float = 30.0, *, all_serve: bool = True
) -> list[set[int]]:
    """
    Wait until every shard is served by exactly one of the workers.
    """

    def shared() -> list[set[int]] | None:
        each = [owned(worker) for worker in workers]
        counts = Counter(shard for one in each for shard in one)
        exactly = counts == Counter(range(shards))
        return each if exactly and (all(each) or not all_serve) else None

    return eventually(shared, timeout, "every shard has exactly one owner")


def restarted(worker: Worker) -> int:
    """
    Count how often the latest start of a worker began a shard again after a failure.
    """
    return len(worker.events("shard_restarts"))


MakeWorker = Callable[[Mapping[str, str]], Worker]
