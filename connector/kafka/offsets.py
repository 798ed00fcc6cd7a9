# SPDX-License-Identifier: Apache-2.0
"""
Looking at and changing stored offsets from outside, as an operator does.

A change is refused while the group has members. It goes through the shard's own
transactional id, so that a worker that was forgotten somewhere is fenced before the
state is read, and it is one transaction (exactly-once R26, KIP-875).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka.admin import AdminClient

from connector.errors import ConnectorError, StoppedError, TopicError
from connector.kafka import topics
from connector.kafka.hashing import shard_of
from connector.kafka.members import members
from connector.kafka.producer import Transaction, TransactionalProducer, transactional_config
from connector.kafka.reader import Reader
from connector.kafka.replay import OffsetsReader
from connector.kafka.state import SHARD_KEY, VERSION, ShardState, part_key
from connector.unit import Json

_TIMEOUT = 15.0


def stored_offset(state: ShardState, source_partition: str) -> Json | None:
    """
    Give the cursor that is stored; None if there is none, or none that can be read.
    """
    try:
        stored = state.get(source_partition)
    except StoppedError:
        return None
    return stored.get("offset") if stored else None


class Offsets:
    """
    The offsets topic of one connector.

    Args:
        kafka: Properties for each kind of client: ``admin``, ``consumer``, ``producer``.
        topic: The offsets topic.
        group_id: The group of the workers, and the stem of the transactional ids.
        logger: A ``logging.Logger`` for what librdkafka says.
        clock_ms: Our clock, milliseconds since 1970.

    Raises:
        TopicError: There is no such topic.
        OutsideError: Kafka did not answer.
    """

    def __init__(
        self,
        *,
        admin: Mapping[str, Any],
        consumer: Mapping[str, Any],
        producer: Mapping[str, Any],
        topic: str,
        group_id: str,
        logger: Any,
        clock_ms: Callable[[], int],
    ) -> None:
        self._admin = AdminClient(dict(admin), logger=logger)
        self._producer = producer
        self._topic = topic
        self._group_id = group_id
        self._logger = logger
        self._clock_ms = clock_ms
        info = topics.describe(self._admin, [topic]).get(topic)
        if info is None:
            raise TopicError(
                f"There is no offsets topic {topic}.",
                remedy="Check CONNECTOR_NAME and CONNECTOR_TOPIC_PREFIX; the first "
                "connector run creates it.",
            )
        self._info = info
        self._reader = OffsetsReader(
            Reader(consumer, group_id=f"{group_id}-offsets", logger=logger), topic
        )

    @property
    def shards(self) -> int:
        """
        How many shards there are.
        """
        return self._info.partitions

    def shard_of(self, source_partition: str) -> int:
        """
        Tell which shard holds a source partition.
        """
        return shard_of(source_partition, self.shards)

    def read(self, shard: int) -> ShardState:
        """
        Read the committed state of a shard.
        """
        return ShardState(shard, self._reader.replay(shard))

    def refuse_members(self) -> None:
        """
        Refuse to go on while workers are members of the group.

        Raises:
            StoppedError: There are members.
            OutsideError: Kafka did not answer.
        """
        found = members(self._admin, self._group_id)
        if found:
            raise members_error(self._group_id, found)

    def change(
        self, shard: int, plan: Callable[[ShardState], Mapping[str, Json | None]]
    ) -> Mapping[str, Json | None]:
        """
        Change a shard's state: fence, read, plan, write in one transaction.

        Args:
            shard: The shard.
            plan: Gives the changes for the state as it is; none is fine.

        Returns:
            What was written.

        Raises:
            ConnectorError: Nothing was changed, or the text says what is unknown.
        """
        self.refuse_members()
        producer = TransactionalProducer(
            transactional_config(
                self._producer,
                transactional_id=f"{self._group_id}-{shard}",
                smallest_limit=self._info.max_message_bytes,
                largest_limit=self._info.max_message_bytes,
            ),
            offsets_topic=self._topic,
            shard=shard,
            logger=self._logger,
            stop=threading.Event(),
        )
        producer.init()
        state = self.read(shard)
        if state.shards not in {None, self.shards}:
            raise TopicError(
                f"{self._topic} has {self.shards} partitions, its offsets were written for "
                f"{state.shards} shards.",
                remedy="Partitions must not be added by hand: restore the topic as it was.",
            )
        changes = plan(state)
        if changes:
            # Again after the fence: a worker that joined meanwhile would be fenced by us
            # for ever if we went on each time it came back.
            self.refuse_members()
            producer.send(Transaction((), state.encode(changes)))
        return changes

    def close(self) -> None:
        """
        Let the clients go.
        """
        self._reader.close()

    def replace(
        self, source_partition: str, parts: Mapping[str, Json] | None
    ) -> Callable[[ShardState], Mapping[str, Json | None]]:
        """
        Plan a new offset for a source partition, or its reset.

        All parts beside the old one go, and ``seq`` begins a new epoch: what is read
        again is then told from what was repeated by mistake. The offset that is stored
        already changes nothing: without its parts, ids among them, it would repeat records.

        Args:
            source_partition: ``<source>/<stream>``.
            parts: The new offset by parts, ``""`` the cursor; None forgets it, and lets
                the feed begin at its configured start.
        """

        def plan(state: ShardState) -> Mapping[str, Json | None]:
            now = self._clock_ms()
            if (
                parts is not None
                and parts.keys() == {""}
                and stored_offset(state, source_partition) == parts[""]
            ):
                return {}
            changes: dict[str, Json | None] = {
                part_key(source_partition, name): None
                for name in state.part_names(source_partition)
            }
            for name, part in (parts or {}).items():
                if name:
                    changes[part_key(source_partition, name)] = {"v": VERSION, "part": part}
            # Without a fingerprint the next worker takes its own: the operator's word.
            changes[source_partition] = {
                "v": VERSION,
                "offset": None if parts is None else parts[""],
                "fingerprint": None,
                "mode": None,
                "committed_at": now,
            }
            changes[SHARD_KEY] = state.begin(self.shards, now)
            return changes

        return plan

    def accept(self, source_partition: str) -> Callable[[ShardState], Mapping[str, Json | None]]:
        """
        Plan to keep an offset under settings that describe another stream of records.
        """

        def plan(state: ShardState) -> Mapping[str, Json | None]:
            stored = state.get(source_partition)
            if stored is None:
                raise _unknown(source_partition)
            return {source_partition: {**stored, "fingerprint": None, "mode": None}}

        return plan


def members_error(group_id: str, members: Sequence[Any]) -> StoppedError:
    """
    Tell who is a member of the group.

    Args:
        group_id: The group.
        members: At least one, with ``client_id`` and ``host``.
    """
    number = "1 worker is a member" if len(members) == 1 else f"{len(members)} workers are members"
    names = ", ".join(sorted(f"{each.client_id} at {each.host}" for each in members))
    return StoppedError(
        f"{number} of group {group_id}: {names}.",
        remedy="Offsets can be changed only while all of them are stopped; a worker "
        "that was killed is forgotten after its session timeout (10 s).",
    )


def _unknown(source_partition: str) -> ConnectorError:
    return StoppedError(
        f"No offset is stored for {source_partition}.", remedy="See connector offsets list."
    )
