# SPDX-License-Identifier: Apache-2.0
"""
What consumers see that know nothing of the connector.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.integration.accounts import now_ms
from tests.integration.seeing import Seen, read_all
from tests.integration.workers import settings

# Simulated items have one under a name that no schema knows.
NUMBER = "9007199254740993.123456789012345678"
OVERLAP = timedelta(minutes=10)
HELD_BACK = timedelta(seconds=15)
MILLISECOND = timedelta(milliseconds=1)


def test_confluents_deserializer_reads_what_was_written(sandbox, simulator, worker):
    """
    Confluent's AvroDeserializer gives times as datetime and numbers with all their digits;
    every record has its headers, and each stream says once how far it is.
    """
    at = now_ms() - 300_000
    fragments = {"batchSize": 12.5, "fragmentCount": 3, "keyName": "claims"}
    simulator.configure("monetago", unknown_fields=True)
    simulator.configure("stedi", unknown_fields=True, edifact=0)
    simulator.offer("monetago", count=8, event_time=at, spread=10)
    simulator.offer("stedi", count=7, event_time=at, spread=10)
    simulator.configure("stedi", unknown_fields=False)
    simulator.offer("stedi", event_time=at + 20, changes={"fragments": fragments})
    environment = settings(
        sandbox,
        simulator.env(),
        monetago_poll_interval="200ms",
        stedi_poll_interval="200ms",
    )
    prefix = environment["CONNECTOR_TOPIC_PREFIX"]
    activity, transactions = f"{prefix}monetago.activity", f"{prefix}stedi.transactions"
    progress = f"{prefix}c.progress"
    running = worker(environment).start()
    running.wait_until(
        lambda w: (
            [
                w.metric("connector_records_produced_total", topic=topic)
                for topic in (activity, transactions, progress)
            ]
            == [8, 8, 2]
        ),
        60,
        "eight records and one of progress of each stream",
    )
    assert running.stop() == 0

    with SchemaRegistryClient({"url": sandbox.registry_url}) as registry:
        deserialize = AvroDeserializer(registry)
        found = {
            (seen.topic, seen.id): (
                seen,
                deserialize(seen.value, SerializationContext(seen.topic, MessageField.VALUE)),
            )
            for seen in read_all(sandbox.bootstrap_servers, activity, transactions, progress)
        }
    assert len(found) == 18
    for line in simulator.ledger("monetago"):
        seen, record = found.pop((activity, line["id"]))
        _check_frame(seen, line)
        _check_activity(record, line["body"])
    for line in simulator.ledger("stedi"):
        seen, record = found.pop((transactions, line["id"]))
        _check_frame(seen, line)
        _check_transaction(record, line["body"])
    told = {seen.key: (seen, record) for seen, record in found.values()}
    assert told.keys() == {"monetago/activity", "stedi/transactions"}
    for seen, record in told.values():
        _check_progress(seen, record)
    # What may still come late, or is still held back, is not called complete.
    assert _lag(told["monetago/activity"][1]) >= OVERLAP - timedelta(seconds=1)
    assert _lag(told["stedi/transactions"][1]) >= HELD_BACK - timedelta(seconds=1)


def _check_frame(seen: Seen, line: Mapping[str, Any]) -> None:
    """
    Compare what stands around a record with the provider's ledger.
    """
    assert seen.headers.keys() == {"id", "seq", "event_time"}
    assert seen.headers["event_time"] == str(line["event_time"])
    shard, epoch, number = map(int, seen.headers["seq"].split("."))
    assert (0 <= shard < 8, epoch > 0, number >= 1) == (True, True, True)
    assert seen.key == line["key"]
    # The timestamp is that of the poll, not of the event.
    assert 250_000 < seen.timestamp - line["event_time"] < 3_600_000


def _check_activity(record: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    assert record["event_date_time"] == datetime.fromisoformat(sent["event_date_time"])
    assert record["request_identifications"] == sent["request_identifications"]
    details = record["event_details"]
    assert [one["status"] for one in details] == [one["status"] for one in sent["event_details"]]
    assert record["additional_properties"]["/simulated_number"] == NUMBER


def _check_transaction(record: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    assert record["processedAt"] == datetime.fromisoformat(sent["processedAt"])
    sizes = [artifact["sizeBytes"] for artifact in record["artifacts"]]
    assert sizes == [artifact["sizeBytes"] for artifact in sent["artifacts"]]
    extras = record["additional_properties"]
    assert extras.get("/simulatedNumber") == (NUMBER if "simulatedNumber" in sent else None)
    if "fragments" in sent:
        assert record["fragments"]["fragmentCount"] == 3
        # No whole number, as the schema has it: kept beside it, as it came.
        assert record["fragments"]["batchSize"] is None
        assert extras["/fragments/batchSize"] == "12.5"


def _check_progress(seen: Seen, record: Mapping[str, Any]) -> None:
    """
    Look whether a watermark is one.
    """
    assert f"{record['source']}/{record['stream']}" == seen.key
    assert record["lag_ms"] == _lag(record) / MILLISECOND
    assert record["complete_until"] <= record["polled_at"]
    assert record["polled_at"].timestamp() * 1000 == seen.timestamp
    assert record["complete_until"].timestamp() * 1000 == int(seen.headers["event_time"])
    assert isinstance(record["caught_up"], bool)


def _lag(record: Mapping[str, Any]) -> timedelta:
    lag: timedelta = record["polled_at"] - record["complete_until"]
    return lag
