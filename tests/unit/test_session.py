# SPDX-License-Identifier: Apache-2.0
"""
How units become transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from connector import session as module
from connector.admin.metrics import Metrics
from connector.errors import ReloadError, RetryError
from connector.kafka.producer import Transaction
from connector.kafka.state import SHARD_KEY, ShardState
from connector.session import Session
from connector.unit import Message, Unit


class Kafka:
    """Takes transactions, or fails as told."""

    def __init__(self) -> None:
        self.sent: list[Transaction] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.worn = False

    async def commit(self, transaction: Transaction) -> float:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.sent.append(transaction)
        return 0.001


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
async def session(kafka: Kafka) -> Session:
    made = Session(
        ShardState(2, {}),
        kafka.commit,
        lambda: kafka.worn,
        metrics=Metrics(),
        clock_ms=lambda: 1700,
    )
    await made.begin_epoch(8)
    kafka.sent.clear()
    return made


def unit(name: str, count: int, *, offset: int = 0, caught_up: bool = True, size: int = 10) -> Unit:
    """Make a unit of so many messages."""
    return Unit(
        source_partition=name,
        messages=[Message("t", b"k", b"v", f"{name}-{offset}-{i}") for i in range(count)],
        state={name: {"v": 1, "offset": offset}},
        timestamp=5,
        caught_up=caught_up,
        size=size,
    )


async def running(session: Session, act: Callable[[], Awaitable[None]]) -> None:
    """Run a session while something happens, then close it."""
    task = asyncio.create_task(session.run())
    await act()
    await session.close()
    await task


async def test_records_and_offset_are_one_transaction(session: Session, kafka: Kafka) -> None:
    """Invariant 1: the record, its number and the offset that covers it go together."""

    async def act() -> None:
        await session.submit(unit("a/b", 2, offset=7))
        await session.settled("a/b")

    await running(session, act)

    (sent,) = kafka.sent
    assert [b"2.1700.1", b"2.1700.2"] == [seq for _, seq, _ in sent.messages]
    assert ["a/b", SHARD_KEY] == [write.key.decode() for write in sent.state]
    assert {"v": 1, "offset": 7} == session.state.get("a/b")


async def test_a_failed_commit_changes_nothing(session: Session, kafka: Kafka) -> None:
    """Invariant 3: memory never runs ahead of what Kafka confirmed."""
    kafka.failure = RetryError("no")
    await session.submit(unit("a/b", 1, offset=7))

    with pytest.raises(RetryError):
        await session.run()

    assert session.state.get("a/b") is None
    assert [b"2.1700.1"] == session.state.number(["t"])[0]


async def test_units_of_a_partition_stay_in_order(session: Session, kafka: Kafka) -> None:
    """Units that wait together are committed in the order of their submission."""
    kafka.gate.clear()

    async def act() -> None:
        for offset in range(5):
            await session.submit(unit("a/b", 1, offset=offset))
        kafka.gate.set()
        await session.settled("a/b")

    await running(session, act)

    ids = [message.id for sent in kafka.sent for message, _, _ in sent.messages]
    assert [f"a/b-{offset}-0" for offset in range(5)] == ids
    assert {"v": 1, "offset": 4} == session.state.get("a/b")


async def test_a_transaction_is_bounded(session: Session, kafka: Kafka) -> None:
    """More than the bounds hold goes into several transactions, none of them empty."""
    kafka.gate.clear()

    async def act() -> None:
        for offset in range(4):
            await session.submit(unit("a/b", 1, offset=offset, size=module.MAX_BYTES // 2))
        kafka.gate.set()
        await session.settled("a/b")

    await running(session, act)

    assert [2, 2] == [len(sent.messages) for sent in kafka.sent]


async def test_one_unit_beyond_the_bounds_still_goes(session: Session, kafka: Kafka) -> None:
    """A unit is never split, so a large one is a transaction of its own."""

    async def act() -> None:
        await session.submit(unit("a/b", 1, size=3 * module.MAX_BYTES))
        await session.settled("a/b")

    await running(session, act)

    assert [1] == [len(sent.messages) for sent in kafka.sent]


async def test_a_partition_waits_for_room(session: Session) -> None:
    """Memory is bounded: who is too far ahead waits until something is committed."""
    for offset in range(module._AHEAD_UNITS):
        await session.room("a/b")
        await session.submit(unit("a/b", 1, offset=offset, caught_up=False))
    waiting = asyncio.create_task(session.room("a/b"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await session.room("other/stream")

    async def act() -> None:
        await waiting

    await running(session, act)


async def test_bytes_bound_the_look_ahead_until_they_are_committed(
    session: Session, kafka: Kafka
) -> None:
    """A few large units fill the memory of a partition as many small ones do."""
    kafka.gate.clear()
    half = module._AHEAD_BYTES // 2
    await session.submit(unit("a/b", 1, offset=1, size=half))
    await asyncio.wait_for(session.room("a/b"), 1)
    await session.submit(unit("a/b", 1, offset=2, size=half))
    waiting = asyncio.create_task(session.room("a/b"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.wait_for(session.room("other/stream"), 1)

    async def act() -> None:
        while len(session._ready) > 1:
            await asyncio.sleep(0)
        assert not waiting.done()
        kafka.gate.set()
        await asyncio.wait_for(waiting, 1)

    await running(session, act)


async def test_committed_bytes_and_messages_are_forgotten(session: Session) -> None:
    """What is committed takes no room from what is fetched next."""

    async def act() -> None:
        await session.submit(unit("a/b", 3, size=module._AHEAD_BYTES))
        assert 3 == session.inflight("a/b")
        await session.settled("a/b")

    await running(session, act)
    await session.submit(unit("a/b", 2, size=1))

    assert 2 == session.inflight("a/b")
    await asyncio.wait_for(session.room("a/b"), 1)


async def test_a_full_partition_does_not_wait_for_more(session: Session, kafka: Kafka) -> None:
    """In a backlog a transaction waits for more, but never for one that may not fetch."""
    for offset in range(module._AHEAD_UNITS):
        await session.submit(unit("a/b", 1, offset=offset, caught_up=False))

    assert session._worth_it()


async def test_a_backlog_gathers_before_it_commits(session: Session, kafka: Kafka) -> None:
    """A small unit of a backlog is not worth a transaction yet; one that is caught up is."""
    await session.submit(unit("a/b", 1, caught_up=False))
    assert not session._worth_it()

    await session.submit(unit("c/d", 1, caught_up=True))

    assert session._worth_it()


async def test_close_lets_only_the_transaction_under_way_finish(
    session: Session, kafka: Kafka
) -> None:
    """Invariant 10: a stop ends the transaction under way and begins none."""
    kafka.gate.clear()
    task = asyncio.create_task(session.run())
    await session.submit(unit("a/b", 1, offset=1))
    while session._ready:
        await asyncio.sleep(0)
    await session.submit(unit("a/b", 1, offset=2))
    await session.close()
    kafka.gate.set()
    await task

    assert 1 == len(kafka.sent)
    assert {"v": 1, "offset": 1} == session.state.get("a/b")


async def test_a_worn_producer_ends_the_session_after_the_commit(
    session: Session, kafka: Kafka
) -> None:
    """What was committed counts; the next transaction gets a new producer (R19)."""
    kafka.worn = True
    await session.submit(unit("a/b", 1, offset=3))

    with pytest.raises(ReloadError):
        await session.run()

    assert {"v": 1, "offset": 3} == session.state.get("a/b")


async def test_a_long_idle_shard_begins_again(session: Session, kafka: Kafka) -> None:
    """After hours without a transaction the broker may have forgotten the producer (R23)."""
    session._last_commit -= module._IDLE_SECONDS + 1
    await session.submit(unit("a/b", 1))

    with pytest.raises(ReloadError):
        await session.run()

    assert [] == kafka.sent
