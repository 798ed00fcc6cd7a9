# SPDX-License-Identifier: Apache-2.0
"""
The hand-written script: what a competent engineer writes in a day.

requests, Confluent's AvroSerializer and a transactional producer; the position is kept by
hand in the same transaction. It has no retries, no token renewal, no window, no overlap, no
dead letters, no headers and no second worker; that is its advantage here. Reading the
position at the start is left out, since every run begins anew.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import requests
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from benchmarks.job import SCHEMA, Job


def to_record(event: dict[str, Any], _context: SerializationContext) -> dict[str, Any]:
    return {
        **event,
        "event_date_time": datetime.fromisoformat(event["event_date_time"]),
        "additional_properties": {},
    }


def main(job: Job) -> None:
    registry = SchemaRegistryClient({"url": job.registry})
    serialize = AvroSerializer(registry, SCHEMA.read_text(), to_record)
    context = SerializationContext(job.topic, MessageField.VALUE)
    producer = Producer(
        {
            "bootstrap.servers": job.bootstrap,
            "transactional.id": job.topic,
            "compression.type": "lz4",
            "linger.ms": 10,
        }
    )
    producer.init_transactions()
    http = requests.Session()
    reply = http.post(job.token_url, json=job.credentials, timeout=30)
    reply.raise_for_status()
    http.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    offset, pages, is_open = 0, 0, False
    while True:
        query = {"after": job.after, "limit": "1000", "offset": str(offset)}
        reply = http.get(f"{job.api}/activity", params=query, timeout=30)
        reply.raise_for_status()
        events = reply.json()["events"]
        if events and not is_open:
            producer.begin_transaction()
            is_open = True
        for event in events:
            producer.produce(
                job.topic,
                key=event["data_set_identification"],
                value=serialize(event, context),
            )
        producer.poll(0)
        offset += len(events)
        pages += 1
        if is_open and (not events or pages % job.pages == 0):
            position = {"after": job.after, "offset": offset}
            producer.produce(job.state_topic, key="monetago/activity", value=json.dumps(position))
            producer.commit_transaction()
            is_open = False
        if not events:
            return


if __name__ == "__main__":
    main(Job.from_argv())
