# SPDX-License-Identifier: Apache-2.0
"""
``connector tail`` on a real broker and a real registry.
"""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner

from connector.cli import connector
from tests.integration.conftest import Cluster
from tests.integration.writing import Writer, new_topic

_SCHEMA = {
    "type": "record",
    "name": "Tailed",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
        },
    ],
}


def _environment(cluster: Cluster) -> dict[str, str]:
    return {
        "CONNECTOR_NAME": "tailed",
        "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "CONNECTOR_SCHEMA_REGISTRY_URL": cluster.registry_url,
    }


@pytest.fixture
def tail(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in _environment(cluster).items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> list[Any]:
        result = CliRunner().invoke(connector, ["tail", *words])
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return call


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return new_topic(cluster.bootstrap_servers)


@pytest.fixture
def writer(cluster: Cluster) -> Writer:
    return Writer(cluster.bootstrap_servers)


def _write(writer: Writer, topic: str, count: int, **more: Any) -> None:
    """
    Write messages one transaction each, over all partitions, a millisecond apart.
    """
    began = time.time_ns() // 1_000_000
    for n in range(count):
        writer.begin()
        writer.write(
            topic,
            f"e-{n}",
            key=f"k-{n}",
            value=b'{"n":%d}' % n,
            timestamp=began + n,
            partition=n % 3,
            **more,
        )
        writer.commit()


@pytest.fixture
def process(cluster: Cluster) -> Iterator[Any]:
    """
    Run the command as a process of its own; one that hangs is killed.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-c", "from connector.cli import main; main()", "tail", *words],
            env={**os.environ, **_environment(cluster)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(running)
        bound = threading.Timer(60, running.kill)
        bound.daemon = True
        bound.start()
        return running

    yield start
    for running in started:
        running.kill()
        running.communicate()


def test_avro_is_shown_with_key_headers_and_exact_decimals(
    cluster: Cluster, tail: Any, writer: Writer
) -> None:
    """
    A value is decoded with the schema that the registry has under its id.
    """
    topic = new_topic(cluster.bootstrap_servers, retention_ms="-1")
    request = urllib.request.Request(
        f"{cluster.registry_url}/subjects/tailed-value/versions",
        data=json.dumps({"schema": json.dumps(_SCHEMA)}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        schema_id = json.load(answer)["id"]
    body = io.BytesIO()
    datum = {"at": 1_700_000_000_005, "amount": Decimal("-12345678901234567890.1")}
    fastavro.schemaless_writer(body, fastavro.parse_schema(_SCHEMA), datum)
    value = b"\0" + struct.pack(">I", schema_id) + body.getvalue()
    writer.begin()
    polled = datetime(2026, 1, 31, 12, 0, 0, 5000, UTC)
    writer.write(
        topic,
        "e-1",
        key="k-1",
        event_time=5,
        value=value,
        partition=2,
        timestamp=int(polled.timestamp() * 1000),
    )
    writer.commit()

    assert tail(topic, "--no-follow") == [
        {
            "topic": topic,
            "partition": 2,
            "offset": 0,
            "timestamp": "2026-01-31T12:00:00.005Z",
            "key": "k-1",
            "headers": {"id": "e-1", "seq": "0.1000.1", "event_time": "5"},
            "value": {"at": "2023-11-14T22:13:20.005Z", "amount": "-12345678901234567890.1"},
        }
    ]


def test_unknown_schema_is_shown_with_its_bytes(tail: Any, topic: str, writer: Writer) -> None:
    """
    A record that cannot be decoded is shown, with the reason, and the next one too.
    """
    writer.begin()
    writer.write(topic, "e-1", value=b"\0\x7f\xff\xff\xffbody", partition=0)
    writer.write(topic, "e-2", value=None, partition=0)
    writer.commit()

    first, second = tail(topic, "--no-follow")

    assert first["undecoded"] == {"reason": "unknown_schema", "base64": "AH////9ib2R5"}
    assert second["value"] is None


def test_last_shows_the_newest_over_all_partitions(tail: Any, topic: str, writer: Writer) -> None:
    """
    The newest records are found behind aborted ones, and shown oldest first.
    """
    _write(writer, topic, 20)
    for partition in range(3):
        writer.begin()
        for n in range(100):
            writer.write(topic, f"aborted-{n}", partition=partition)
        writer.abort()

    shown = tail(topic, "--last", "5", "--no-follow")

    assert [line["value"]["n"] for line in shown] == [15, 16, 17, 18, 19]


def test_last_may_be_more_than_there_is(tail: Any, topic: str, writer: Writer) -> None:
    """
    Asked for more than there is, all is shown.
    """
    _write(writer, topic, 4)

    assert [line["value"]["n"] for line in tail(topic, "--last", "99", "--no-follow")] == [
        0,
        1,
        2,
        3,
    ]


def test_from_beginning_shows_all(tail: Any, topic: str, writer: Writer) -> None:
    """
    All committed records are shown once, and the command ends.
    """
    _write(writer, topic, 30)

    shown = tail(topic, "--from-beginning", "--no-follow")

    assert sorted(line["value"]["n"] for line in shown) == list(range(30))


def test_uncommitted_records_are_shown_only_on_request(
    tail: Any, topic: str, writer: Writer
) -> None:
    """
    Aborted records are hidden, unless a careless reader's view is asked for.
    """
    writer.begin()
    writer.write(topic, "aborted", partition=0)
    writer.abort()

    assert tail(topic, "--no-follow") == []
    assert len(tail(topic, "--no-follow", "--as-uncommitted")) == 1


def test_count_ends_the_command(tail: Any, topic: str, writer: Writer) -> None:
    """
    After the asked number of records the command ends, although it follows.
    """
    _write(writer, topic, 10)

    assert len(tail(topic, "--from-beginning", "--count", "4")) == 4


def test_following_shows_new_records_and_new_topics(
    process: Any, cluster: Cluster, topic: str, writer: Writer
) -> None:
    """
    New records appear as they are committed, also on a topic that is created later.
    """
    _write(writer, topic, 12)
    later = f"{topic}-later"
    running = process(topic, later, "--last", "1")
    assert json.loads(running.stdout.readline())["value"] == {"n": 11}
    _write(writer, topic, 1)
    assert json.loads(running.stdout.readline())["value"] == {"n": 0}
    new_topic(cluster.bootstrap_servers, name=later)
    _write(writer, later, 1)

    assert json.loads(running.stdout.readline())["topic"] == later


@pytest.mark.parametrize("words", [["--last", "1"], ["--from-beginning"]])
def test_interrupt_ends_cleanly(process: Any, topic: str, writer: Writer, words: list[str]) -> None:
    """
    Ctrl-C ends with 0 and without a word.
    """
    _write(writer, topic, 1)
    running = process(topic, *words)
    running.stdout.readline()
    threading.Timer(0.5, running.send_signal, [signal.SIGINT]).start()
    rest, errors = running.communicate(timeout=20)

    assert (running.returncode, rest, errors) == (0, "", "")


def test_missing_topic_is_an_error_unless_followed(cluster: Cluster, tail: Any) -> None:
    """
    Without following, a topic that is not there is a mistake.
    """
    result = CliRunner().invoke(connector, ["tail", "no-such-topic", "--no-follow"])

    assert result.exit_code == 2
    assert "There is no topic no-such-topic." in result.output


def test_registry_that_is_away_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, tail: Any, topic: str, writer: Writer
) -> None:
    """
    Without the registry nothing can be decoded, which is told as such.
    """
    writer.begin()
    writer.write(topic, "e-1", value=b"\0\0\0\0\x01body", partition=0)
    writer.commit()
    monkeypatch.setenv("CONNECTOR_SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")

    result = CliRunner().invoke(connector, ["tail", topic, "--no-follow"])

    assert result.exit_code == 3, result.output
