# SPDX-License-Identifier: Apache-2.0
"""
The life of a shard: proof, fence, proof, replay, work, and from the top again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Mapping

import pytest

from connector import shard as module
from connector.admin.metrics import Metrics
from connector.errors import FencedError
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

    async def prove(self, shard: int) -> Proof:
        proof = self.proofs.pop(0) if self.proofs else Proof.OURS
        self.diary.append(f"prove: {proof.value}")
        return proof

    async def replay(self, shard: int) -> Mapping[str, bytes]:
        self.diary.append("replay")
        return dict(self.stored)

    def make_producer(self, shard: int, abandon: threading.Event) -> Producer:
        return Producer(self)

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
