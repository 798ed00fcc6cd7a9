# SPDX-License-Identifier: Apache-2.0
"""
The engine of a feed: when its provider is called, and what is committed of it.

Everything in memory starts from the committed offset, and goes back to it after any
failure (invariant 3). What was fetched ahead is committed in order before that, so no
work is lost and none is done twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from connector.errors import (
    ConnectorError,
    CredentialsError,
    FingerprintError,
    LostOffsetError,
    RetryError,
    StoppedError,
    place_of,
)
from connector.kafka.state import VERSION, part_key
from connector.polling.parts import FeedParts, SessionPort
from connector.polling.status import FeedState, FeedStatus
from connector.providers.base import Page
from connector.unit import Json, Message, Unit

log = structlog.get_logger()

# How often a stream tells downstream how far it is, and how long a checkpoint that
# carries no record may wait.
_PROGRESS_SECONDS = 60.0
# Secrets that come from files are read again at each attempt.
_REMEDY = "Renew the secret, in its file or by a restart, or the rights of its owner."
# How often a feed looks again at what its overlap has passed.
_RECOUNT_SECONDS = 24 * 3600.0


@dataclass(slots=True)
class _Position:
    """
    Where the feed is in memory, and what of it is not handed over yet.
    """

    offset: Any
    stored: dict[str, Any]
    mode: str | None
    pending: dict[str, Json | None] = field(default_factory=dict)
    handed_over: float = 0.0
    progress_at: float = 0.0


class FeedTask:
    """
    One feed of one source, on one session of its shard.

    Args:
        parts: What it is built from.
        session: The shard's port.
        status: Where it tells how it is.
    """

    def __init__(self, parts: FeedParts, session: SessionPort, status: FeedStatus) -> None:
        self._parts = parts
        self._feed = parts.feed
        self._session = session
        self._status = status
        self._name = parts.source_partition
        self._labels = (parts.source, parts.feed.stream.name)
        self._backoff = parts.backoff
        self._misfits = parts.records.encoder.misfits.copy()

    async def run(self) -> None:
        """
        Poll for ever; ends by cancellation only.
        """
        try:
            await self._poll_for_ever()
        finally:
            # What another worker serves from now on is not ours to measure.
            metrics = self._parts.metrics
            for gauge in (metrics.source_lag_seconds, metrics.inflight_records, metrics.stopped):
                with suppress(KeyError):
                    gauge.remove(*self._labels)

    async def _poll_for_ever(self) -> None:
        while True:
            try:
                await self._from_committed()
            except RetryError as failure:
                await self._retry(failure, failure.cause)
            except StoppedError as failure:
                await self._stop(failure)
            except ConnectorError as failure:
                await self._retry(failure, "error")
            except Exception as failure:  # noqa: BLE001 - one feed must not end its neighbours
                # The text of an unknown error may hold data of the provider: only its type
                # and its place are told (invariant 9).
                self._parts.metrics.fatal_errors.labels("internal").inc()
                log.error("internal_error", source_partition=self._name, **place_of(failure))
                await self._retry(
                    RetryError(f"Internal error ({type(failure).__name__}).", cause="internal"),
                    "internal",
                )

    async def _from_committed(self) -> None:
        await self._session.settled(self._name)
        position = await self._load()
        while True:
            await self._session.room(self._name)
            page = await self._feed.fetch_page(self._parts.client, position.offset)
            await self._take(position, page)
            self._backoff.reset()
            if page.caught_up:
                await self._maybe_recount(position)
                # Only longer: many workers and feeds must not ask in step (invariant 7).
                await asyncio.sleep(self._parts.poll_interval * random.uniform(1.0, 1.1))  # noqa: S311

    async def _load(self) -> _Position:
        stored = self._session.state.get(self._name)
        if stored is None or stored.get("offset") is None:
            return await self._first(stored)
        fingerprint = stored.get("fingerprint")
        if fingerprint is not None and fingerprint != self._feed.fingerprint():
            raise FingerprintError(
                f"{self._name}: the settings describe another stream of records than the one "
                "whose offset is stored (another base URL, account or client).",
                remedy=f"Set them back, or choose: connector offsets accept {self._name} keeps "
                f"the offset, connector offsets reset {self._name} starts anew.",
            )
        offset = self._feed.load({"": stored["offset"], **self._session.state.parts(self._name)})
        return _Position(
            offset=offset,
            stored=dict(stored),
            mode=stored.get("mode"),
        )

    async def _first(self, stored: dict[str, Any] | None) -> _Position:
        """
        Commit the resolved start before the first poll (DESIGN section 4, first start).
        """
        # A stored value without an offset is what ``offsets reset`` leaves: an operator's word.
        if stored is None and await self._parts.topic_has_records():
            raise LostOffsetError(
                f"{self._name}: no offset is stored, yet topic {self._parts.records.topic} holds "
                "records of it. Starting over would write them again.",
                remedy=f"Choose: connector offsets set {self._name} <offset or time>, or "
                f"connector offsets reset {self._name}.",
            )
        offset, writes = self._feed.first(self._parts.start(self._parts.clock_ms()))
        position = _Position(
            offset=offset,
            stored=dict(stored or {}),
            mode=None,
            pending=dict(writes),
        )
        await self._hand_over(position, [], 0, self._parts.clock_ms(), caught_up=True)
        await self._session.settled(self._name)
        log.info("feed_first_start", source_partition=self._name)
        return position

    async def _take(self, position: _Position, page: Page[Any]) -> None:
        self._check_mode(position, page.mode)
        messages, reasons, size = self._parts.records.make(page.items)
        position.offset = page.next_offset
        position.pending.update(page.writes)
        now = time.monotonic()
        if now - position.progress_at >= _PROGRESS_SECONDS and page.complete_until is not None:
            progress = self._progress(page)
            messages.append(progress)
            size += len(progress.value or b"")
            position.progress_at = now
        # What waits for a larger transaction need not wait when nothing more will come.
        released = page.caught_up and self._session.inflight(self._name) > 0
        worth_storing = position.pending and self._worth_storing(position, page, now)
        if messages or released or worth_storing:
            await self._hand_over(position, messages, size, page.polled_at, page.caught_up)
        self._observe(page, reasons)

    def _check_mode(self, position: _Position, mode: str | None) -> None:
        if mode is None or mode == position.mode:
            return
        if position.mode is None:
            position.mode = mode
        elif position.mode != "mixed":
            raise FingerprintError(
                f"{self._name}: the provider's records are of mode {mode!r}, those before were "
                f"of mode {position.mode!r}. The key was exchanged for one of another kind.",
                remedy="Set the former key again, or choose: connector offsets accept "
                f"{self._name}.",
            )

    @staticmethod
    def _worth_storing(position: _Position, page: Page[Any], now: float) -> bool:
        return page.durable or now - position.handed_over >= _PROGRESS_SECONDS

    async def _hand_over(
        self,
        position: _Position,
        messages: list[Message],
        size: int,
        polled_at: int,
        caught_up: bool,  # noqa: FBT001 - private
    ) -> None:
        state: dict[str, Json | None] = {
            part_key(self._name, part): None if value is None else {"v": VERSION, "part": value}
            for part, value in position.pending.items()
            if part
        }
        if "" in position.pending:
            position.stored = {
                **position.stored,
                "v": VERSION,
                "offset": position.pending[""],
                "fingerprint": self._feed.fingerprint(),
                "mode": position.mode,
                "committed_at": self._parts.clock_ms(),
            }
            state[self._name] = position.stored
        position.pending = {}
        position.handed_over = time.monotonic()
        await self._session.submit(
            Unit(
                source_partition=self._name,
                messages=messages,
                state=state,
                timestamp=polled_at,
                caught_up=caught_up,
                size=size,
            )
        )

    def _progress(self, page: Page[Any]) -> Message:
        complete_until = page.complete_until or 0
        value = self._parts.encode_progress(
            {
                "source": self._parts.source,
                "stream": self._feed.stream.name,
                "complete_until": complete_until,
                "polled_at": page.polled_at,
                "lag_ms": max(0, page.polled_at - complete_until),
                "caught_up": page.caught_up,
            }
        )
        return Message(
            self._parts.progress_topic,
            self._name.encode(),
            value,
            f"{self._name}@{page.polled_at}",
            complete_until,
        )

    async def _maybe_recount(self, position: _Position) -> None:
        """
        Once a day look again at what the overlap has passed.
        """
        now = self._parts.clock_ms()
        # Stored, or a worker that restarts every day would never look.
        if now - position.stored.setdefault("recounted_at", now) < _RECOUNT_SECONDS * 1000:
            return
        try:
            recount = await self._feed.recount(self._parts.client, position.offset)
        except ConnectorError as failure:
            # It only measures: what it cannot read must not stop what we can.
            recount = None
            self._parts.metrics.retries.labels(self._parts.source, "recount").inc()
            log.warning("recount_failed", source_partition=self._name, error=str(failure))
        if recount is not None:
            if recount.next_offset is not None:
                position.offset = recount.next_offset
            position.pending.update(recount.writes)
            self._parts.metrics.late_events.labels(*self._labels).inc(recount.late)
        if recount is None or not recount.more:
            position.stored["recounted_at"] = now
            position.pending.setdefault("", position.stored["offset"])
        if position.pending:
            await self._hand_over(position, [], 0, now, caught_up=True)

    def _observe(self, page: Page[Any], reasons: list[str]) -> None:
        metrics, labels, status = self._parts.metrics, self._labels, self._status
        if page.items:
            metrics.poll_records.labels(*labels).inc(len(page.items))
            status.records += len(page.items) - len(reasons)
            status.last_record_ms = page.polled_at
        for reason in reasons:
            metrics.records_rejected.labels(self._parts.source, reason).inc()
            metrics.dlq_records.labels(self._parts.source).inc()
            status.dead_letters += 1
        misfits = self._parts.records.encoder.misfits
        if misfits != self._misfits:
            for name, count in (misfits - self._misfits).items():
                metrics.misfits.labels(*labels, name).inc(count)
            self._misfits = misfits.copy()
        for seconds in page.late:
            metrics.late_arrival_seconds.labels(*labels).observe(seconds)
        for note, count in page.notes.items():
            metrics.feed_notes.labels(*labels, note).inc(count)
        metrics.last_success.labels(*labels).set(page.polled_at / 1000)
        metrics.inflight_records.labels(*labels).set(self._session.inflight(self._name))
        metrics.stopped.labels(*labels).set(0)
        if page.complete_until is not None:
            # Asked for when it is scraped: it has to grow while nothing comes.
            if status.complete_until_ms is None:
                metrics.source_lag_seconds.labels(*labels).set_function(self._lag)
            status.complete_until_ms = page.complete_until
        status.last_poll_ms = page.polled_at
        status.state = FeedState.CAUGHT_UP if page.caught_up else FeedState.CATCHING_UP
        status.error = status.remedy = status.retry_at_ms = None

    def _lag(self) -> float:
        until = self._status.complete_until_ms
        return 0.0 if until is None else max(0, self._parts.clock_ms() - until) / 1000

    async def _retry(self, failure: ConnectorError, cause: str) -> None:
        delay = self._backoff.next_delay(failure)
        self._parts.metrics.retries.labels(self._parts.source, cause).inc()
        self._status.state = FeedState.RETRYING
        self._status.error = str(failure)
        self._status.remedy = _REMEDY if isinstance(failure, CredentialsError) else None
        self._status.retry_at_ms = self._parts.clock_ms() + int(delay * 1000)
        log.warning(
            "feed_retries",
            source_partition=self._name,
            cause=cause,
            error=str(failure),
            delay_s=round(delay, 1),
        )
        await asyncio.sleep(delay)

    async def _stop(self, failure: StoppedError) -> None:
        self._status.state = FeedState.STOPPED
        self._status.error = failure.message
        self._status.remedy = failure.remedy
        self._parts.metrics.stopped.labels(*self._labels).set(1)
        log.error("feed_stopped", source_partition=self._name, error=str(failure))
        # What came before the item that stopped us is committed; nothing else happens
        # until a person acts and the shard begins again.
        await asyncio.Event().wait()
