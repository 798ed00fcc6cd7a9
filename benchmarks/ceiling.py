# SPDX-License-Identifier: Apache-2.0
"""
The ceiling: the parts alone, in one thread, with nothing around them.

Fetch (http.client), parse (the standard parser, exact numbers), encode, transactional produce
with the connector's headers and producer settings, an offset record in each transaction. It
knows the fields it needs by heart and checks nothing. Two forms: fastavro into one reused
buffer, and the connector's own Avro writer.
"""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

import orjson
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from fastavro import parse_schema, schemaless_writer

from benchmarks.job import SCHEMA, Job
from connector.encoding.avro import StreamEncoder
from connector.encoding.schemas import load
from connector.kafka.producer import transactional_config

_LIMIT = 1024 * 1024


class Api:
    """
    One connection to MonetaGo.
    """

    def __init__(self, job: Job) -> None:
        self._base = urlsplit(job.api)
        self._http = http.client.HTTPConnection(self._base.netloc)
        body = json.dumps(job.credentials)
        headers = {"Content-Type": "application/json"}
        token = json.loads(self._ask("POST", urlsplit(job.token_url).path, headers, body))
        self._headers = {"Authorization": f"Bearer {token['access_token']}"}
        self._after = job.after

    def page(self, offset: int) -> bytes:
        """
        Fetch one page of 1,000.
        """
        query = urlencode({"after": self._after, "limit": 1000, "offset": offset})
        return self._ask("GET", f"{self._base.path}/activity?{query}", self._headers)

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: str | None = None
    ) -> bytes:
        self._http.request(method, path, body, headers)
        reply = self._http.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{path}: HTTP {reply.status}")
        return content


# Encodes an event; its time in ms since 1970 is known already.
Encode: TypeAlias = Callable[[dict[str, Any], int], bytes]


def fastavro_encoder(text: str, schema_id: int) -> Encode:
    """
    Give an encoder that writes into one buffer again and again.
    """
    prefix = b"\x00" + schema_id.to_bytes(4, "big")
    schema = parse_schema(json.loads(text))
    buffer = io.BytesIO()

    def encode(event: dict[str, Any], event_ms: int) -> bytes:
        event["event_date_time"] = event_ms
        event["additional_properties"] = {}
        buffer.seek(0)
        buffer.truncate()
        buffer.write(prefix)
        schemaless_writer(buffer, schema, event)
        return buffer.getvalue()

    return encode


def own_encoder(schema_id: int) -> Encode:
    """
    Give the connector's encoder.
    """
    encode = StreamEncoder(load("monetago/activity.avsc"), schema_id).encode
    return lambda event, _event_ms: encode(event)


def main(job: Job) -> None:
    text = SCHEMA.read_text()
    registry = SchemaRegistryClient({"url": job.registry})
    schema_id = registry.register_schema(f"{job.topic}-value", Schema(text, "AVRO"))
    encode = own_encoder(schema_id) if job.own_writer else fastavro_encoder(text, schema_id)
    producer = Producer(
        transactional_config(
            {"bootstrap.servers": job.bootstrap},
            transactional_id=job.topic,
            smallest_limit=_LIMIT,
            largest_limit=_LIMIT,
        )
    )
    producer.init_transactions()
    produce, poll = producer.produce, producer.poll
    decode = json.JSONDecoder(parse_float=Decimal).decode
    parse_time = datetime.fromisoformat
    api = Api(job)
    offset, pages, is_open = 0, 0, False
    while True:
        events: list[dict[str, Any]] = decode(api.page(offset).decode())["events"]
        polled_at = time.time_ns() // 1_000_000
        if events and not is_open:
            producer.begin_transaction()
            is_open = True
        for n, event in enumerate(events, offset + 1):
            event_ms = int(parse_time(event["event_date_time"]).timestamp() * 1000)
            produce(
                job.topic,
                value=encode(event, event_ms),
                key=event["data_set_identification"],
                headers=[
                    ("id", event["event_identification"]),
                    ("seq", b"0.1700000000000.%d" % n),
                    ("event_time", b"%d" % event_ms),
                ],
                timestamp=polled_at,
            )
        poll(0)
        offset += len(events)
        pages += 1
        if is_open and (not events or pages % job.pages == 0):
            position = orjson.dumps({"after": job.after, "offset": offset, "n": offset})
            produce(job.state_topic, key="monetago/activity", value=position)
            producer.commit_transaction()
            is_open = False
        if not events:
            return


if __name__ == "__main__":
    main(Job.from_argv())
