# SPDX-License-Identifier: Apache-2.0
"""
Reading what is stored for a shard, from partitions in every state.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.errors import OutsideError
from connector.kafka.reader import Reader
from connector.kafka.replay import Replays
from connector.logs import librdkafka_logger
from tests.integration.conftest import Cluster
from tests.integration.writing import Writer, new_topic

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return new_topic(cluster.bootstrap_servers, partitions=3, cleanup_policy="compact")


@pytest.fixture
def writer(cluster: Cluster) -> Writer:
    return Writer(cluster.bootstrap_servers)


@pytest.fixture
async def replays(cluster: Cluster, topic: str) -> AsyncIterator[Callable[..., Replays]]:
    made: list[Replays] = []

    def make(**more: Any) -> Replays:
        made.append(replays_of(cluster, **{"topic": topic, **more}))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def replays_of(cluster: Cluster, topic: str, **more: float) -> Replays:
    reader = Reader(
        {"bootstrap.servers": cluster.bootstrap_servers},
        group_id=f"replay-{uuid.uuid4()}",
        logger=librdkafka_logger(),
    )
    return Replays(reader, topic, **more)


def put(writer: Writer, topic: str, values: dict[str, bytes | None], partition: int = 1) -> None:
    for key, value in values.items():
        writer.write(topic, "i", key=key, value=value, partition=partition)


async def test_nothing_at_all(replays: Callable[..., Replays]) -> None:
    """
    A partition that was never written to is read at once, and holds nothing.
    """
    assert await replays().replay(1) == {}


async def test_the_last_value_of_a_key_wins(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    Of several values the last one counts, and of other partitions none (R8).
    """
    for number in range(3):
        writer.begin()
        put(writer, topic, {"a": b"%d" % number, "b": b"x"})
        put(writer, topic, {"c": b"other"}, partition=2)
        writer.commit()

    assert await replays().replay(1) == {"a": b"2", "b": b"x"}


async def test_tombstones_delete(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    A deleted key is absent, one that was set again is there.
    """
    writer.begin()
    put(writer, topic, {"a": b"1", "b": b"1"})
    writer.commit()
    writer.begin()
    put(writer, topic, {"a": None, "b": None})
    put(writer, topic, {"b": b"2"})
    writer.commit()

    assert await replays().replay(1) == {"b": b"2"}


async def test_an_aborted_tail_does_not_count(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    Aborted values and the control records at the end are passed over.
    """
    writer.begin()
    put(writer, topic, {"a": b"1"})
    writer.commit()
    for _ in range(3):
        writer.begin()
        put(writer, topic, {"a": b"aborted", "b": b"aborted"})
        writer.abort()

    assert await replays().replay(1) == {"a": b"1"}


async def test_nothing_but_aborted_transactions(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    A partition of an aborted first transaction has an end above 0 and no record (notes 12).
    """
    writer.begin()
    put(writer, topic, {"a": b"aborted"})
    writer.abort()

    one = replays()
    assert await one.replay(1) == {}
    assert not await one.has_records(topic, 3)


async def test_a_committed_record_makes_a_topic_non_empty(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    One record in any partition is enough.
    """
    writer.begin()
    put(writer, topic, {"a": b"1"}, partition=2)
    writer.commit()

    assert await replays().has_records(topic, 3)


async def test_a_removed_beginning_is_passed_over(
    cluster: Cluster, replays: Callable[..., Replays], writer: Writer
) -> None:
    """
    A partition that does not begin at 0 any more is read from where it does.
    """
    topic = new_topic(cluster.bootstrap_servers, partitions=3, cleanup_policy="compact,delete")
    for value in (b"1", b"2", b"3"):
        writer.begin()
        put(writer, topic, {"a": value, f"k{value.decode()}": value})
        writer.commit()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 1, 6)]).values():
        future.result(15)

    assert await replays(topic=topic).replay(1) == {"a": b"3", "k3": b"3"}


async def test_holes_of_compaction_are_passed_over(
    cluster: Cluster, replays: Callable[..., Replays], writer: Writer
) -> None:
    """
    A partition that the cleaner has gone over, of whose last offsets nothing is left but
    control records, is read to its end.
    """
    compacted = new_topic(
        cluster.bootstrap_servers,
        partitions=2,
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.01",
        segment_bytes="1048576",
        max_compaction_lag_ms="100",
        segment_ms="100",
        delete_retention_ms="0",
    )
    for number in range(30):
        writer.begin()
        put(writer, compacted, {"a": b"%d" % number, f"gone-{number}": b"x" * 1000})
        writer.commit()
        writer.begin()
        put(writer, compacted, {f"gone-{number}": None})
        writer.commit()
        if not number % 10:
            await asyncio.sleep(0.15)
    writer.begin()
    put(writer, compacted, {"gone": b"aborted"})
    writer.abort()
    one = replays(topic=compacted)

    for _ in range(20):
        assert await one.replay(1) == {"a": b"29"}
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("ends", ["commit", "abort"])
async def test_an_open_transaction_is_waited_for(
    ends: str, replays: Callable[..., Replays], topic: str, writer: Writer, cluster: Cluster
) -> None:
    """
    A transaction of somebody else that is open at the start decides what is read, and
    keeps nobody else waiting meanwhile.
    """
    writer.begin()
    put(writer, topic, {"a": b"1"})
    writer.commit()
    foreign = Writer(cluster.bootstrap_servers)
    foreign.begin()
    put(foreign, topic, {"a": b"2", "b": b"2"})
    foreign.flush()
    one = replays()

    reading = asyncio.create_task(one.replay(1))
    # A replay of another partition comes through while this one waits.
    for _ in range(5):
        assert await asyncio.wait_for(one.replay(0), 5) == {}
    assert not reading.done()
    getattr(foreign, ends)()

    expected = {"a": b"2", "b": b"2"} if ends == "commit" else {"a": b"1"}
    assert await asyncio.wait_for(reading, 10) == expected


async def test_a_hanging_transaction_is_an_error_that_names_it(
    replays: Callable[..., Replays], topic: str, writer: Writer
) -> None:
    """
    After the bound comes an error with topic, partition, offset and the tool (R9).
    """
    writer.begin()
    put(writer, topic, {"a": b"1"})
    writer.flush()

    with pytest.raises(OutsideError) as caught:
        await replays(patience=0.5).replay(1)

    assert caught.value.cause == "open_transaction"
    for word in (topic, "partition 1", "offset 0 of 1", "find-hanging"):
        assert word in str(caught.value)


async def test_close_ends_a_reading_under_way(cluster: Cluster, topic: str, writer: Writer) -> None:
    """
    A stop does not wait for what is read for nobody any more.
    """
    writer.begin()
    put(writer, topic, {"a": b"1"})
    writer.flush()
    one = replays_of(cluster, topic)
    spans = await one._on_thread(lambda: one._reader.spans(topic, [1]))
    reading = asyncio.ensure_future(one._on_thread(lambda: one._offsets.replay(1, spans)))
    await asyncio.sleep(0.3)

    began = time.monotonic()
    await one.close()

    assert time.monotonic() - began < 5.0
    with pytest.raises(OutsideError):
        await reading


async def test_a_hundred_thousand_offsets(
    replays: Callable[..., Replays], topic: str, cluster: Cluster
) -> None:
    """
    As many stored offsets as jobs may leave behind are read in seconds.
    """
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "transactional.id": f"many-{uuid.uuid4()}",
            "linger.ms": 20,
        }
    )
    producer.init_transactions(30)
    for begin in range(0, 100_000, 10_000):
        producer.begin_transaction()
        for number in range(begin, begin + 10_000):
            value = {"v": 1, "offset": {"state": "waiting", "number": number}, "fill": "x" * 400}
            producer.produce(
                topic, key=f"flinks/{number}", value=json.dumps(value).encode(), partition=1
            )
        producer.commit_transaction(30)
    one = replays()
    await one.replay(0)

    began = time.monotonic()
    values = await one.replay(1)
    seconds = time.monotonic() - began

    sys.stdout.write(f"100,000 stored offsets read in {seconds:.2f} s\n")
    assert len(values) == 100_000
    assert seconds < 30.0
