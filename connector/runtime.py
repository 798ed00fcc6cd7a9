# SPDX-License-Identifier: Apache-2.0
"""
Everything that a worker needs from outside, once it is there.

``connect`` asks Kafka and the registry until all answers are known: topics and their
limits, schema ids, clients of the providers. Nothing of it is asked again inside a
transaction (invariant 4).
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka.admin import AdminClient

from connector.admin.metrics import HttpMetrics, Metrics
from connector.encoding import schemas
from connector.encoding.registry import open_encoding
from connector.errors import OutsideError, TopicError
from connector.kafka import topics
from connector.kafka.hashing import shard_of
from connector.kafka.members import members
from connector.kafka.producer import TransactionalProducer, transactional_config
from connector.kafka.reader import Reader
from connector.kafka.replay import Replays
from connector.logs import librdkafka_logger
from connector.polling.feed import FeedTask
from connector.polling.parts import FeedParts
from connector.polling.records import Limits, RecordMaker
from connector.polling.status import FeedStatus
from connector.session import Session
from connector.settings import Settings
from connector.upstream.client import Client
from connector.upstream.retry import Backoff
from connector.upstream.timing import wall_ms


def topic_specs(settings: Settings, brokers: int) -> list[topics.TopicSpec]:
    """
    List the topics that these settings write to, as they would be created.

    Args:
        settings: With their sources.
        brokers: How many brokers the cluster has.
    """
    partitions = settings.topic_partitions
    replicas = settings.topic_replication_factor
    specs = [
        topics.offsets_spec(settings.offsets_topic, settings.shards, replicas, brokers),
        topics.log_spec(settings.progress_topic, partitions, replicas),
        topics.dead_letters_spec(settings.dead_letters_topic, partitions, replicas),
    ]
    specs += [
        topics.log_spec(source.topic(stream.name), partitions, replicas)
        for source in settings.sources
        for stream in source.provider.streams
    ]
    return specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """
    What was found outside, and what is made from it.

    Attributes:
        settings: All settings.
        metrics: Where to count.
        shards: How many shards there are: the partitions of the offsets topic.
        client_id: This worker's name in the group.
        infos: All topics as they were found.
        feeds: The parts of each feed.
        statuses: The status of each feed that ran here, by source partition.
    """

    settings: Settings
    metrics: Metrics
    shards: int
    client_id: str
    kafka_logger: Any
    infos: Mapping[str, topics.TopicInfo]
    feeds: Sequence[FeedParts]
    statuses: dict[str, FeedStatus] = field(default_factory=dict)
    unknown: dict[int, list[str]] = field(default_factory=dict)
    admin: AdminClient
    opened: AsyncExitStack
    replays: Replays

    def make_producer(self, shard: int, abandon: threading.Event) -> TransactionalProducer:
        """
        Make the producer of a shard; called on the shard's thread.
        """
        limits = [info.max_message_bytes for info in self.infos.values()]
        config = transactional_config(
            self.settings.kafka.producer(),
            transactional_id=self.settings.transactional_id(shard),
            smallest_limit=min(limits),
            largest_limit=max(limits),
        )
        return TransactionalProducer(
            config,
            offsets_topic=self.settings.offsets_topic,
            shard=shard,
            logger=self.kafka_logger,
            stop=abandon,
        )

    async def replay(self, shard: int) -> Mapping[str, bytes]:
        """
        Read what is stored for a shard.
        """
        return await self.replays.replay(shard)

    def tasks(self, session: Session) -> list[Awaitable[None]]:
        """
        Make the tasks of the feeds that belong to a shard.
        """
        self._count_unknown(session)
        tasks: list[Awaitable[None]] = []
        for parts in self.feeds:
            name = parts.source_partition
            if shard_of(name, self.shards) == session.shard:
                status = self.statuses[name] = FeedStatus(name, session.shard)
                tasks.append(FeedTask(parts, session, status).run())
        return tasks

    async def check_offsets_topic(self) -> None:
        """
        Look whether the offsets topic is still the one that we found.

        Raises:
            TopicError: It is gone, another one, or has other partitions.
            OutsideError: Kafka did not answer.
        """
        name = self.settings.offsets_topic
        found = (await asyncio.to_thread(topics.describe, self.admin, [name])).get(name)
        before = self.infos[name]
        if found is None or (found.topic_id, found.partitions) != (
            before.topic_id,
            before.partitions,
        ):
            raise TopicError(
                f"The offsets topic {name} was deleted, replaced or given other partitions "
                "while this worker ran.",
                remedy="Restore it as it was, then start again.",
            )

    async def close(self) -> None:
        """
        Close what was opened.
        """
        await self.opened.aclose()

    def _count_unknown(self, session: Session) -> None:
        names = {source.name for source in self.settings.sources}
        self.unknown[session.shard] = [
            name
            for name in session.state.source_partitions()
            if name.partition("/")[0] not in names
        ]


async def connect(settings: Settings, metrics: Metrics) -> Runtime:
    """
    Find out all that a worker has to know before it joins the group.

    Raises:
        TopicError: A topic is missing or cannot be worked with.
        RetryError: Kafka or the registry does not answer; try again.
        StoppedError: The registry refuses a schema.
    """
    logger = librdkafka_logger()
    admin = AdminClient(settings.kafka.admin(), logger=logger)
    brokers = await asyncio.to_thread(topics.brokers, admin)
    await asyncio.to_thread(_refuse_to_replace, admin, settings)
    specs = topic_specs(settings, brokers)
    infos = await asyncio.to_thread(topics.ensure, admin, specs, may_create=settings.topic_create)
    feeds: list[FeedParts] = []
    # What was opened is closed again if something further on fails.
    async with AsyncExitStack() as stack:
        encoding = await open_encoding(settings.registry)
        stack.push_async_callback(encoding.aclose)
        progress = await encoding.prepare(settings.progress_topic, schemas.PROGRESS)
        replays = Replays(
            Reader(
                settings.kafka.consumer(), group_id=f"{settings.group_id}-replay", logger=logger
            ),
            settings.offsets_topic,
        )
        stack.push_async_callback(replays.close)
        for source in settings.sources:
            client = Client(
                source=source.name,
                base_url=source.settings.base_url,
                auth=source.provider.auth(source.settings),
                request_timeout=source.settings.request_timeout,
                max_concurrency=source.settings.max_concurrency,
                rate_limit=source.settings.rate_limit,
                allow_private_addresses=source.settings.allow_private_addresses,
                trust_env=settings.http_trust_env,
                observer=HttpMetrics(metrics),
            )
            stack.push_async_callback(client.aclose)
            for feed in source.provider.feeds(source.settings):
                topic = source.topic(feed.stream.name)
                records = RecordMaker(
                    source=source.name,
                    connector=settings.name,
                    stream=feed.stream,
                    topic=topic,
                    dead_letters=settings.dead_letters_topic,
                    encoder=await encoding.prepare(topic, feed.stream.schema),
                    limits=Limits(
                        records=infos[topic].max_message_bytes,
                        dead_letters=infos[settings.dead_letters_topic].max_message_bytes,
                    ),
                    stop_on_rejected=source.errors == "stop",
                )
                feeds.append(
                    FeedParts(
                        source=source.name,
                        feed=feed,
                        client=client,
                        records=records,
                        progress_topic=settings.progress_topic,
                        encode_progress=progress.encode,
                        poll_interval=source.settings.poll_interval,
                        start=source.settings.start.resolve,
                        topic_has_records=partial(
                            replays.has_records, topic, infos[topic].partitions
                        ),
                        metrics=metrics,
                        backoff=Backoff(),
                        clock_ms=wall_ms,
                    )
                )
        opened = stack.pop_all()
    return Runtime(
        settings=settings,
        metrics=metrics,
        shards=infos[settings.offsets_topic].partitions,
        client_id=f"{settings.group_id}@{socket.gethostname()}-{os.getpid()}",
        kafka_logger=logger,
        infos=infos,
        feeds=feeds,
        admin=admin,
        replays=replays,
        opened=opened,
    )


def _refuse_to_replace(admin: AdminClient, settings: Settings) -> None:
    """
    Leave an offsets topic that was deleted under running workers missing (DESIGN section 4).

    Raises:
        OutsideError: It is missing, and there are workers.
    """
    name = settings.offsets_topic
    if name in topics.describe(admin, [name]):
        return
    workers = members(admin, settings.group_id)
    if workers:
        raise OutsideError(
            f"The offsets topic {name} is missing while {len(workers)} workers run: it was "
            "deleted under them, and is not made anew before they have stopped.",
            cause="offsets_topic",
        )
