# SPDX-License-Identifier: Apache-2.0
"""
What a feed task is built from, and what it asks of its shard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from connector.admin.metrics import Metrics
from connector.polling.records import RecordMaker
from connector.providers.base import Feed
from connector.unit import Json, Unit
from connector.upstream.client import Client
from connector.upstream.retry import Backoff


class StatePort(Protocol):
    """
    The committed state, as a feed sees it.
    """

    def get(self, key: str) -> dict[str, Any] | None:
        """
        Give the stored value of a key.
        """
        ...

    def parts(self, source_partition: str) -> dict[str, Json]:
        """
        Give what is stored beside a cursor.
        """
        ...


class SessionPort(Protocol):
    """
    What a feed asks of its shard.
    """

    @property
    def state(self) -> StatePort:
        """
        The committed state.
        """
        ...

    async def room(self, source_partition: str) -> None:
        """
        Wait until more may be fetched.
        """
        ...

    async def submit(self, unit: Unit) -> None:
        """
        Hand over a unit.
        """
        ...

    async def settled(self, source_partition: str) -> None:
        """
        Wait until all that was handed over is committed.
        """
        ...

    def inflight(self, source_partition: str) -> int:
        """
        Count the messages that are not committed yet.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """
    What a feed task is built from.

    Attributes:
        source: Name of the source.
        feed: The provider's side.
        client: Its HTTP client.
        records: Makes messages from its items.
        progress_topic: Where progress goes.
        encode_progress: Encodes one progress record.
        poll_interval: Seconds between polls when caught up.
        start: Resolves the configured start: takes and gives ms since 1970.
        topic_has_records: Tells whether the stream's topic holds a committed record.
        metrics: Where to count.
        backoff: Of this feed, over all its sessions.
        clock_ms: Our clock.
    """

    source: str
    feed: Feed[Any]
    client: Client
    records: RecordMaker
    progress_topic: str
    encode_progress: Callable[[dict[str, Any]], bytes]
    poll_interval: float
    start: Callable[[int], int]
    topic_has_records: Callable[[], Awaitable[bool]]
    metrics: Metrics
    backoff: Backoff
    clock_ms: Callable[[], int]

    @property
    def source_partition(self) -> str:
        """
        The name under which the offset is stored.
        """
        return f"{self.source}/{self.feed.stream.name}"
