# SPDX-License-Identifier: Apache-2.0
"""
How a feed is, for ``/status``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FeedState(Enum):
    """
    What an operator sees of a feed.
    """

    STARTING = "starting"
    CATCHING_UP = "catching up"
    CAUGHT_UP = "caught up"
    RETRYING = "retrying"
    STOPPED = "stopped"


@dataclass(slots=True)
class FeedStatus:
    """
    The status of a feed, for ``/status``. Holds nothing that a provider sent.
    """

    source_partition: str
    shard: int
    state: FeedState = FeedState.STARTING
    error: str | None = None
    remedy: str | None = None
    retry_at_ms: int | None = None
    last_poll_ms: int | None = None
    last_record_ms: int | None = None
    complete_until_ms: int | None = None
    records: int = 0
    dead_letters: int = 0
