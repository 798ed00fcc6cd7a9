# SPDX-License-Identifier: Apache-2.0
"""
``connector verify`` on a real broker: topics written rightly, wrongly, and while it reads.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from connector.cli import connector
from connector.errors import OutsideError
from connector.kafka.reader import Reader
from connector.verify.topic import verify_topic
from connector.verify.verdict import TopicVerdict
from tests.integration.conftest import Cluster
from tests.integration.writing import Writer, new_topic

_DAY_MS = 24 * 3600 * 1000


def _reader(cluster: Cluster, **more: Any) -> Reader:
    return Reader(
        {"bootstrap.servers": cluster.bootstrap_servers},
        group_id="test-verify",
        logger=logging.getLogger("test"),
        **more,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _verify(
    cluster: Cluster, topic: str, *, now_ms: int | None = None, **more: Any
) -> TopicVerdict:
    with _reader(cluster, **more) as reader:
        info = reader.describe([topic])[topic]
        return verify_topic(reader, info, now_ms=now_ms or _now_ms(), progress=lambda *_: None)


def _write(writer: Writer, topic: str, ids: Sequence[str], **more: Any) -> None:
    writer.begin()
    for name in ids:
        writer.write(topic, name, key=name, **more)
    writer.commit()


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return new_topic(cluster.bootstrap_servers)


@pytest.fixture
def writer(cluster: Cluster) -> Writer:
    return Writer(cluster.bootstrap_servers, shard=3)


@pytest.fixture
def run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("CONNECTOR_KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap_servers)

    def call(*words: str) -> Result:
        return CliRunner().invoke(connector, ["verify", *words])

    return call


def test_right_topic_is_clean(cluster: Cluster, topic: str, writer: Writer) -> None:
    """
    Committed numbers without a gap are clean; aborted ones do not count.
    """
    _write(writer, topic, [f"e-{n}" for n in range(50)])
    writer.begin()
    writer.write(topic, "e-50")
    writer.abort()
    _write(writer, topic, [f"e-{n}" for n in range(50, 80)])

    verdict = _verify(cluster, topic)

    assert verdict.clean
    assert [(r.shard, r.epoch, r.first, r.last, r.records) for r in verdict.runs] == [
        (3, 1000, 1, 80, 80)
    ]


def test_uncommitted_view_shows_what_was_aborted(
    cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    Who reads uncommitted sees the numbers and ids of an aborted transaction twice.
    """
    writer.begin()
    writer.write(topic, "e-1", key="k")
    writer.abort()
    _write(writer, topic, ["e-1"])

    assert _verify(cluster, topic).clean
    verdict = _verify(cluster, topic, uncommitted=True)

    assert [(run.twice, run.ids_twice) for run in verdict.runs] == [(1, 1)]


def test_empty_topic_with_aborted_transactions_is_clean(
    cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    End offsets above 0 without a record are no message (notes 12).
    """
    writer.begin()
    writer.write(topic, "e-1")
    writer.abort()

    verdict = _verify(cluster, topic)

    assert (verdict.clean, verdict.records, verdict.runs) == (True, 0, ())


def test_reading_waits_for_a_transaction_below_the_mark(
    cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    A transaction that is open at the start is read once it is committed.
    """
    writer.begin()
    writer.write(topic, "e-1", key="k")
    writer.flush()
    threading.Timer(1.0, writer.commit).start()

    verdict = _verify(cluster, topic)

    assert (verdict.clean, verdict.records) == (True, 1)


def test_transaction_that_stays_open_is_an_error_with_a_remedy(
    cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    The wait is bounded; the error names topic, partition and last stable offset.
    """
    _write(writer, topic, ["e-1"], partition=1)
    writer.begin()
    writer.write(topic, "e-2", partition=1)
    writer.flush()

    with pytest.raises(OutsideError) as failure:
        _verify(cluster, topic, patience=1.5)
    writer.abort()

    assert f"{topic} partition 1" in str(failure.value)
    assert "last stable offset 2 of 3" in str(failure.value)
    assert "find-hanging" in str(failure.value)


def test_removed_beginning_is_judged_from_its_edge(
    cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    Where records were removed, numbers are judged from what is surely whole on.
    """
    began = _now_ms()
    for n in range(40):
        _write(writer, topic, [f"e-{n}"], partition=n % 3, timestamp=began + n)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    # Each message is followed by the mark of its transaction; this cuts 5 of them.
    for future in admin.delete_records([TopicPartition(topic, 1, 10)]).values():
        future.result(15)

    verdict = _verify(cluster, topic)

    assert verdict.clean
    assert verdict.cut == (1,)
    assert verdict.judged_from == began + 16
    assert [(run.first, run.last) for run in verdict.runs] == [(18, 40)]


@pytest.mark.parametrize(
    ("config", "age_ms", "first"),
    [
        ({"retention_ms": str(_DAY_MS)}, 0, 1),
        ({"retention_ms": str(_DAY_MS)}, 2 * _DAY_MS, None),
        ({"retention_ms": "-1"}, 0, None),
        ({"retention_ms": str(_DAY_MS), "retention_bytes": "1000000"}, 0, None),
    ],
)
def test_partition_that_was_emptied_is_judged_by_the_time_of_retention(
    cluster: Cluster, writer: Writer, config: dict[str, str], age_ms: int, first: int | None
) -> None:
    """
    If nothing is left of a partition, only what is younger than its retention is judged.
    """
    topic = new_topic(cluster.bootstrap_servers, partitions=2, **config)
    _write(writer, topic, ["e-0"], partition=0)
    writer.number[topic] = 0
    _write(writer, topic, ["e-1"], partition=1)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        future.result(15)

    verdict = _verify(cluster, topic, now_ms=_now_ms() + age_ms)

    assert verdict.cut == (0,)
    assert [(run.first, run.last) for run in verdict.runs] == [(first, 1)]


def test_topic_that_is_being_written_has_no_false_finding(cluster: Cluster, topic: str) -> None:
    """
    Numbers that lie on both sides of the marks of two partitions are not called missing.
    """
    ended = threading.Event()

    def write(shard: int) -> None:
        writer = Writer(cluster.bootstrap_servers, shard=shard)
        count = 0
        while not ended.is_set():
            _write(writer, topic, [f"{shard}-{count + n}" for n in range(20)])
            count += 20

    threads = [threading.Thread(target=write, args=(shard,)) for shard in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        verdicts = [_verify(cluster, topic) for _ in range(15)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()

    assert [verdict.clean for verdict in verdicts] == [True] * 15
    assert [len(verdict.runs) for verdict in verdicts] == [3] * 15
    assert verdicts[-1].records > verdicts[0].records


def test_command_says_clean_and_ends_with_0(run: Any, topic: str, writer: Writer) -> None:
    """
    A clean topic gives a table with its numbers, what cannot be seen, and exit code 0.
    """
    _write(writer, topic, [f"e-{n}" for n in range(7)])

    result = run(topic)

    assert result.exit_code == 0, result.output
    assert "Clean: no number missing, none twice, no id twice" in result.output
    assert "Not seen: what was lost before it got a number" in result.output
    row = next(line for line in result.output.splitlines() if topic in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        topic,
        "3",
        "1970-01-01 00:00:01.000Z",
        "1",
        "7",
        "0",
        "0",
        "0",
    ]


def test_command_names_findings_and_ends_with_1(run: Any, topic: str, writer: Writer) -> None:
    """
    Each finding is named with its place, and the exit code is 1.
    """
    _write(writer, topic, ["a", "b"], partition=0)
    writer.number[topic] += 3
    _write(writer, topic, ["c", "a"], partition=0)
    writer.number[topic] -= 1
    _write(writer, topic, ["d"], partition=1)
    _write(writer, topic, ["e"], partition=1, headers=[("seq", b"mine")])

    result = run(topic)

    who = f"{topic}, shard 3, epoch 1000"
    assert result.exit_code == 1, result.output
    assert f"{who}: 3 numbers are missing: 3-5." in result.output
    assert f"{who}: 1 messages repeat a number, at partition" in result.output
    assert f"{who}: one id is there 2 times, at partition 0 offset 0, " in result.output
    assert f"{topic}: 1 messages are foreign, without a usable seq or id" in result.output
    assert "Clean" not in result.output


def test_command_writes_json(run: Any, topic: str, writer: Writer) -> None:
    """
    For programs there is JSON, with a conclusion at the top.
    """
    _write(writer, topic, ["a"])
    writer.number[topic] += 1
    _write(writer, topic, ["b"])

    result = run(topic, "--output", "json")

    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["clean"], told["isolation_level"]) == (False, "read_committed")
    assert told["topics"][0]["runs"][0]["gaps"] == [{"first": 2, "last": 2}]


def test_command_says_what_compaction_hides(run: Any, cluster: Cluster, writer: Writer) -> None:
    """
    On a compacted topic gaps are no finding, and the output says that they are not seen.
    """
    topic = new_topic(cluster.bootstrap_servers, cleanup_policy="compact")
    writer.number[topic] = 4
    _write(writer, topic, ["a"])

    result = run(topic)

    assert result.exit_code == 0, result.output
    assert "Not seen: missing numbers: the topic is compacted" in result.output


def test_command_without_the_topic_ends_with_2(run: Any) -> None:
    """
    A topic that does not exist proves nothing.
    """
    result = run("no-such-topic")

    assert (result.exit_code, "There is no topic no-such-topic." in result.output) == (2, True)


def test_command_without_kafka_ends_with_3(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A broker that cannot be reached is exit code 3.
    """
    monkeypatch.setenv("CONNECTOR_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setattr("connector.kafka.topics._TIMEOUT", 2.0)

    assert run("any").exit_code == 3


def test_command_with_an_unknown_stream_ends_with_2(run: Any) -> None:
    """
    A stream that no source has is a mistake in the usage.
    """
    assert run("stedi/nothing").exit_code == 2
