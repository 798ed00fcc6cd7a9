# SPDX-License-Identifier: Apache-2.0
"""
The checker is checked: it has to find every fault that it exists for, and nothing else.
"""

from __future__ import annotations

import ast
import io
import json
import struct
import urllib.request
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.integration.checker import Verdict, judge
from tests.integration.conftest import Cluster
from tests.integration.offered import AsOffered, ByEventTime, Offered, Order, from_ledger
from tests.integration.seeing import Decoder, RunningReader, Seen, read_all, read_offsets
from tests.integration.writing import Writer, new_topic

_STARTED = 10_000


def _offered(count: int = 30) -> list[Offered]:
    return [
        Offered(
            position=n,
            id=f"e-{n}",
            key=f"k-{n % 5}",
            event_time=1000 + n,
            visible_at=_STARTED - 1,
            body={"n": n},
        )
        for n in range(1, count + 1)
    ]


def _write(
    writer: Writer, topic: str, events: Sequence[Offered], size: int = 7, **more: Any
) -> None:
    for begin in range(0, len(events), size):
        writer.begin()
        for event in events[begin : begin + size]:
            writer.write(topic, str(event.id), key=event.key, event_time=event.event_time, **more)
        writer.commit()


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return new_topic(cluster.bootstrap_servers)


@pytest.fixture
def writer(cluster: Cluster) -> Writer:
    return Writer(cluster.bootstrap_servers)


@pytest.fixture
def verdict_of(cluster: Cluster, topic: str) -> Callable[..., Verdict]:
    def judged(offered: Sequence[Offered], *topics: str, **more: Any) -> Verdict:
        late = read_all(cluster.bootstrap_servers, topic, *topics)
        more.setdefault("order", AsOffered())
        return judge(offered, late, topic=topic, **more)

    return judged


def test_right_topic_passes(topic: str, writer: Writer, verdict_of: Callable[..., Verdict]) -> None:
    """
    A topic that holds what was offered, once and in order, has no finding.
    """
    _write(writer, topic, _offered())

    verdict = verdict_of(_offered())

    assert verdict.findings() == {}
    assert verdict.delivered == 30


def test_aborted_transactions_do_not_count(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    What was aborted is neither repeated nor unknown, and its numbers are free again.
    """
    events = _offered()
    _write(writer, topic, events[:14])
    writer.begin()
    for event in events[14:20]:
        writer.write(topic, str(event.id), key=event.key, event_time=event.event_time)
    writer.write(topic, "nobody", key="k")
    writer.abort()
    _write(writer, topic, events[14:])

    assert verdict_of(events).findings() == {}
    assert len(read_all(cluster.bootstrap_servers, topic, uncommitted=True)) == 37


def test_dropped_record_is_missing(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A record that never came is found, although the numbers have no gap.
    """
    _write(writer, topic, [e for e in _offered() if e.position != 17])

    assert verdict_of(_offered()).findings() == {"missing": ["e-17"]}


def test_last_record_dropped_is_missing(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A loss at the very end is found too.
    """
    _write(writer, topic, _offered()[:-1])

    assert verdict_of(_offered()).findings() == {"missing": ["e-30"]}


def test_nothing_written_is_all_missing(verdict_of: Callable[..., Verdict]) -> None:
    """
    An empty topic is not a right one.
    """
    assert len(verdict_of(_offered()).missing) == 30


def test_repeated_record_is_repeated(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A record that came twice is found, although its numbers are right.
    """
    _write(writer, topic, [*_offered(), _offered()[29]])

    verdict = verdict_of(_offered())

    assert verdict.findings().keys() == {"repeated"}
    assert verdict.repeated[0].startswith("e-30 at ")


def test_reordered_record_is_reordered(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    Two records of one key in the wrong order are found.
    """
    events = _offered()
    events[10], events[15] = events[15], events[10]
    assert events[10].key == events[15].key
    _write(writer, topic, events)

    verdict = verdict_of(_offered())

    assert verdict.findings().keys() == {"reordered"}
    assert len(verdict.reordered) == 1


def test_order_of_different_keys_is_free(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    Within a key is promised, between keys is not; within a partition can be asked for.
    """
    events = _offered()
    keys = sorted(events, key=lambda event: (str(event.key), event.position), reverse=False)
    _write(writer, topic, keys, partition=0)

    assert verdict_of(_offered()).ok
    assert verdict_of(_offered(), within="partition").findings().keys() == {"reordered"}


@pytest.mark.parametrize(
    ("late_visible", "order", "reordered"),
    [
        (_STARTED - 1, ByEventTime(started_ms=_STARTED), 1),
        (_STARTED + 50, ByEventTime(started_ms=_STARTED), 1),
        (_STARTED + 50, ByEventTime(started_ms=_STARTED, walk_ms=100), 0),
        (_STARTED + 200, ByEventTime(started_ms=_STARTED), 0),
    ],
)
def test_late_events_may_stand_behind_later_ones(
    topic: str,
    writer: Writer,
    verdict_of: Callable[..., Verdict],
    late_visible: int,
    order: Order,
    reordered: int,
) -> None:
    """
    By event time: only an event that became visible too late for its place is excused.
    """
    newest = Offered(2, "new", "k", event_time=2000, visible_at=_STARTED + 100)
    late = Offered(1, "old", "k", event_time=1000, visible_at=late_visible)
    _write(writer, topic, [newest, late])

    verdict = verdict_of([late, newest], order=order)

    assert len(verdict.reordered) == reordered
    assert len(verdict.findings()) == reordered


def test_unknown_record_is_unknown(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A record that nobody offered is found.
    """
    _write(writer, topic, [*_offered(), Offered(31, "e-31", "k-1", 1031)])

    verdict = verdict_of(_offered())

    assert verdict.findings().keys() == {"unknown"}
    assert verdict.unknown[0].startswith("e-31 at ")


def test_gap_in_the_numbers_is_found(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A number that was never written is found, although all records are there.
    """
    events = _offered()
    _write(writer, topic, events[:10])
    writer.number[topic] += 2
    _write(writer, topic, events[10:])

    assert verdict_of(events).findings() == {
        "seq_missing": [f"{topic} 0.1000.11", f"{topic} 0.1000.12"]
    }


def test_number_given_twice_is_found(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A second writer with the numbers of the first is found.
    """
    events = _offered()
    _write(writer, topic, events[:29])
    zombie = Writer(cluster.bootstrap_servers)
    zombie.number[topic] = 28
    _write(zombie, topic, events[29:])

    assert verdict_of(events).findings() == {"seq_repeated": [f"{topic} 0.1000.29"]}


def test_record_without_number_is_found(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A message whose header is unusable is found.
    """
    events = _offered(1)
    writer.begin()
    writer.write(topic, "e-1", key="k-1", event_time=1001, headers=[("seq", b"one")], partition=0)
    writer.commit()

    assert verdict_of(events).findings() == {"unnumbered": [f"{topic}-0@0"]}


def test_wrong_key_and_event_time_are_found(
    topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    Key and event time have to be those of the ledger.
    """
    _write(writer, topic, [Offered(1, "e-1", "other", event_time=5)])

    assert verdict_of(_offered(1)).findings().keys() == {"wrong_key", "wrong_event_time"}


def _dead_letter(writer: Writer, dlq: str, topic: str, body: Any) -> None:
    writer.write(
        dlq,
        "some-hash",
        key="source",
        value=json.dumps(body).encode(),
        headers=[("__connect.errors.topic", topic.encode())],
    )


def test_dead_letters_are_delivered_where_the_ledger_says_bad(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A bad item counts as delivered when it is a dead letter, once; others are unknown.
    """
    dlq = new_topic(cluster.bootstrap_servers)
    lines = [
        {
            "seq": 1,
            "id": "e-1",
            "key": "k-1",
            "event_time": 1001,
            "visible_at": 1,
            "body": {"n": 1},
        },
        {"seq": 2, "id": None, "key": None, "event_time": 1002, "visible_at": 1, "body": {"n": 2}},
    ]
    offered = from_ledger(lines)
    _write(writer, topic, offered[:1])

    assert verdict_of(offered, dlq, dead_letters=dlq).findings() == {
        "missing": ["dead letter of event 2"]
    }

    writer.begin()
    _dead_letter(writer, dlq, topic, {"n": 2})
    _dead_letter(writer, dlq, "another-topic", {"n": 3})
    writer.commit()
    verdict = verdict_of(offered, dlq, dead_letters=dlq)

    assert verdict.findings() == {}
    assert (verdict.delivered, verdict.dead_letters) == (1, 1)

    writer.begin()
    _dead_letter(writer, dlq, topic, {"n": 2})
    _dead_letter(writer, dlq, topic, {"n": 1})
    writer.commit()
    findings = verdict_of(offered, dlq, dead_letters=dlq).findings()

    assert findings.keys() == {"repeated", "unknown"}


def test_offset_that_is_behind_is_found(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    The callback gets the newest record last, and what it says is a finding.
    """
    offsets = new_topic(cluster.bootstrap_servers, partitions=1, cleanup_policy="compact")
    _write(writer, topic, _offered())
    for stored in ("e-29", "e-28"):
        writer.begin()
        writer.write(offsets, "", key="s/t", value=json.dumps({"last": stored}).encode())
        writer.commit()

    def check(records: Sequence[Seen]) -> list[str]:
        stored = read_offsets(cluster.bootstrap_servers, offsets)["s/t"]["last"]
        return [] if records[-1].id == stored else [f"{stored} is not {records[-1].id}"]

    assert verdict_of(_offered(), check_offset=check).findings() == {"offset": ["e-28 is not e-30"]}


def test_running_reader_sees_what_the_late_one_sees(
    cluster: Cluster, topic: str, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A reader that runs all the time sees the same, without what was aborted.
    """
    reader = RunningReader(cluster.bootstrap_servers, topic)
    reader.start()
    events = _offered()
    _write(writer, topic, events[:15])
    reader.wait_for(lambda seen: len(seen) == 15, timeout=30)
    writer.begin()
    writer.write(topic, "aborted", key="k-1")
    writer.abort()
    _write(writer, topic, events[15:])
    seen = reader.stop()

    assert len(seen) == 30
    assert verdict_of(events, running=seen).findings() == {}


def test_record_that_vanished_is_found(
    topic: str, cluster: Cluster, writer: Writer, verdict_of: Callable[..., Verdict]
) -> None:
    """
    A record that only one of the two readers saw is found.
    """
    _write(writer, topic, _offered())
    seen = read_all(cluster.bootstrap_servers, topic)

    assert verdict_of(_offered(), running=seen[:-1]).findings().keys() == {"vanished"}


def test_decoder_reads_by_the_id_in_the_registry(cluster: Cluster) -> None:
    """
    A value in Confluent's wire format is decoded with the schema that the registry has.
    """
    schema = {
        "type": "record",
        "name": "Checked",
        "fields": [
            {
                "name": "amount",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
            }
        ],
    }
    request = urllib.request.Request(
        f"{cluster.registry_url}/subjects/checker-value/versions",
        data=json.dumps({"schema": json.dumps(schema)}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        schema_id = json.load(answer)["id"]
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), {"amount": Decimal("1.10")})
    value = b"\0" + struct.pack(">I", schema_id) + body.getvalue()
    decoder = Decoder(cluster.registry_url)

    assert decoder.decode(value) == {"amount": Decimal("1.10")}
    with pytest.raises(ValueError, match="left over"):
        decoder.decode(value + b"x")
    with pytest.raises(ValueError, match="wire format"):
        decoder.decode(b"{}")


@pytest.mark.parametrize("name", ["checker", "seeing", "offered"])
def test_checker_shares_no_code_with_the_connector(name: str) -> None:
    """
    Nothing that judges imports what is judged.
    """
    text = (Path(__file__).parent / f"{name}.py").read_text()
    imported = {
        module
        for node in ast.walk(ast.parse(text))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert {module for module in imported if module.split(".")[0] == "connector"} == set()
