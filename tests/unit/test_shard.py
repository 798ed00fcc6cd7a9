# SPDX-License-Identifier: Apache-2.0
"""
The life of a shard: proof, fence, proof, replay, work, and from the top again.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import traceback
import weakref
from collections.abc import Awaitable, Mapping
from dataclasses import replace

import pytest

from connector import shard as module
from connector.admin.metrics import Metrics
from connector.errors import ConnectorError, FencedError, ReloadError, RetryError
from connector.kafka.group import Proof
from connector.kafka.producer import Transaction
from connector.session import Session
from connector.shard import Shard, ShardParts, Stage
from connector.unit import Message, Unit
from connector.upstream.retry import Backoff


class World:
    """A group, a broker and a stored state that do as they are told, and a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.proofs: list[Proof] = []
        self.failures: list[Exception] = []
        self.stored: dict[str, bytes] = {}
        self.worked = asyncio.Event()
        self.worn = False
        self.made: list[Producer] = []
        self.dropped: list[tuple[Producer, str]] = []

    async def prove(self, shard: int) -> Proof:
        proof = self.proofs.pop(0) if self.proofs else Proof.OURS
        self.diary.append(f"prove: {proof.value}")
        return proof

    async def replay(self, shard: int) -> Mapping[str, bytes]:
        self.diary.append("replay")
        return dict(self.stored)

    def make_producer(self, shard: int, abandon: threading.Event) -> Producer:
        self.made.append(Producer(self))
        return self.made[-1]

    async def feed(self, session: Session) -> None:
        self.diary.append("feed")
        message = Message("t", b"k", b"v", "i")
        await session.submit(Unit(source_partition="a/b", messages=[message], timestamp=1))
        await session.settled("a/b")
        self.worked.set()
        await asyncio.Event().wait()

    def tasks(self, session: Session) -> list[Awaitable[None]]:
        return [self.feed(session)]


class Producer:
    """Stands for the transactional producer of a shard."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.worn = False

    def init(self) -> None:
        self._world.diary.append("init")

    def drop(self) -> None:
        self._world.dropped.append((self, threading.current_thread().name))

    def send(self, transaction: Transaction) -> float:
        if transaction.messages and self._world.failures:
            self._world.diary.append("fail")
            raise self._world.failures.pop(0)
        self._world.diary.append("commit" if transaction.messages else "begin epoch")
        for write in transaction.state:
            self._world.stored[write.key.decode()] = write.value or b""
        return 0.0


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def shard(world: World, monkeypatch: pytest.MonkeyPatch) -> Shard:
    monkeypatch.setattr(module, "_ASK_AGAIN_SECONDS", 0.0)
    made = Shard(
        3,
        ShardParts(
            shards=8,
            group=world,
            make_producer=world.make_producer,
            replay=world.replay,
            tasks=world.tasks,
            metrics=Metrics(),
        ),
    )
    made._backoff = Backoff(first=0.001, credentials_first=0.001, cap=0.001)
    return made


async def until_worked(shard: Shard, world: World) -> None:
    """Run a shard until its feed has committed, then stop it."""
    task = asyncio.create_task(shard.run())
    async with asyncio.timeout(10):
        await world.worked.wait()
        shard.stop()
        await task


async def test_a_shard_proves_fences_proves_and_reads_before_it_polls(
    shard: Shard, world: World
) -> None:
    """Invariant 2, in its order."""
    await until_worked(shard, world)

    assert [
        "prove: ours", "init", "prove: ours", "replay", "begin epoch", "feed", "commit",
    ] == world.diary  # fmt: skip
    assert Stage.ENDED is shard.stage


async def test_a_shard_that_is_not_ours_initialises_nothing(shard: Shard, world: World) -> None:
    """Whoever cannot prove ownership must not fence the rightful owner (R5)."""
    world.proofs = [Proof.NOT_OURS, Proof.UNSURE]

    await until_worked(shard, world)

    assert ["prove: not ours", "prove: unsure", "prove: ours", "init"] == world.diary[:4]


async def test_ownership_that_moved_during_init_is_noticed(shard: Shard, world: World) -> None:
    """A shard that was lost while it initialised reads and polls nothing (R4)."""
    world.proofs = [Proof.OURS, Proof.NOT_OURS]

    await until_worked(shard, world)

    assert ["prove: ours", "init", "prove: not ours", "prove: ours", "init"] == world.diary[:5]


async def test_a_fenced_shard_asks_the_group_and_reads_kafka_again(
    shard: Shard, world: World
) -> None:
    """Fenced: from the top, with a new producer and what Kafka says (R18, R21)."""
    world.failures = [FencedError("fenced")]

    await until_worked(shard, world)

    failed = world.diary.index("fail")
    assert ["prove: ours", "init", "prove: ours", "replay", "feed", "commit"] == world.diary[
        failed + 1 :
    ]


async def test_another_number_of_shards_is_refused(shard: Shard, world: World) -> None:
    """Offsets that were written for another number of shards stop the worker."""
    world.stored["$shard"] = b'{"v": 1, "shards": 4, "epoch": 1, "counters": {}}'

    await asyncio.wait_for(shard.run(), 10)

    assert shard.fatal is not None
    assert "feed" not in world.diary


async def test_a_stop_during_the_proof_ends_at_once(shard: Shard, world: World) -> None:
    """A shard that waits for the group does not keep a revocation waiting (notes 1)."""

    async def never(_shard: int) -> Proof:
        return await asyncio.get_running_loop().create_future()

    world.prove = never  # type: ignore[method-assign] - the group does not answer
    task = asyncio.create_task(shard.run())
    await asyncio.sleep(0)
    shard.stop()

    await asyncio.wait_for(task, 10)

    assert Stage.ENDED is shard.stage


async def test_each_producer_is_dropped_on_its_own_thread(shard: Shard, world: World) -> None:
    """Threads and sockets of librdkafka end with the session, not when memory is tidied up."""
    world.failures = [FencedError("fenced"), FencedError("fenced")]

    await until_worked(shard, world)
    while len(world.dropped) < 3:
        await asyncio.sleep(0)

    assert world.made == [producer for producer, _ in world.dropped]
    assert {"shard-3_0"} == {thread for _, thread in world.dropped}


async def test_a_producer_that_could_not_initialise_is_dropped_too(
    shard: Shard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away for long leaves no heap of producers behind."""
    failures: list[Exception] = [RetryError("away"), ReloadError("away")]

    def init(_producer: Producer) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(Producer, "init", init)

    await until_worked(shard, world)
    while len(world.dropped) < 3:
        await asyncio.sleep(0)

    assert world.made == [producer for producer, _ in world.dropped]


async def test_an_error_holds_no_frame_of_the_producer(shard: Shard, world: World) -> None:
    """What a shard tells about a failure must not keep librdkafka's handle alive."""
    seen: list[ConnectorError] = []
    again = shard._again

    async def note(failure: ConnectorError, cause: str) -> None:
        seen.append(failure)
        await again(failure, cause)

    shard._again = note  # type: ignore[method-assign] - looks on
    world.failures = [RetryError("no")]

    await until_worked(shard, world)

    (failure,) = seen
    names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(failure.__traceback__)}
    assert "send" not in names
    assert failure.__context__ is None


async def test_a_stop_does_not_wait_for_a_replay(shard: Shard, world: World) -> None:
    """An open transaction of somebody else must not hold up a revocation (R9)."""
    replaying = asyncio.Event()

    async def never(_shard: int) -> Mapping[str, bytes]:
        replaying.set()
        return await asyncio.get_running_loop().create_future()

    shard._parts = replace(shard._parts, replay=never)
    task = asyncio.create_task(shard.run())
    await replaying.wait()
    shard.stop()

    await asyncio.wait_for(task, 10)

    assert "feed" not in world.diary


async def test_a_stop_during_init_tells_the_producer(
    shard: Shard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first transaction nothing is worth waiting for: init gives up at once."""
    initialising = threading.Event()

    def init(_producer: Producer) -> None:
        initialising.set()
        assert shard._abandon.wait(10)
        raise ReloadError("no definite answer")

    monkeypatch.setattr(Producer, "init", init)
    task = asyncio.create_task(shard.run())
    await asyncio.to_thread(initialising.wait, 10)
    shard.stop()

    await asyncio.wait_for(task, 10)

    assert Stage.ENDED is shard.stage


async def test_a_stop_lets_a_transaction_finish(shard: Shard, world: World) -> None:
    """A running shard is not torn out of its commit by a stop (invariant 10)."""
    task = asyncio.create_task(shard.run())
    await world.worked.wait()
    shard.stop()
    assert not shard._abandon.is_set()
    await asyncio.wait_for(task, 10)


async def test_a_failed_session_is_forgotten_at_once(
    shard: Shard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a session may be large; it does not wait until memory is tidied up."""
    sessions: list[weakref.ref[Session]] = []
    again = Shard._again

    def tasks(session: Session) -> list[Awaitable[None]]:
        sessions.append(weakref.ref(session))
        return world.tasks(session)

    async def look(failing: Shard, failure: ConnectorError, cause: str) -> None:
        await again(failing, failure, cause)
        alive.append(sum(session() is not None for session in sessions))

    alive: list[int] = []
    shard._parts = replace(shard._parts, tasks=tasks)
    monkeypatch.setattr(Shard, "_again", look)
    world.failures = [FencedError("fenced"), RetryError("no")]
    gc.disable()
    try:
        await until_worked(shard, world)
    finally:
        gc.enable()

    assert [0, 0] == alive
