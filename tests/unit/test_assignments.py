# SPDX-License-Identifier: Apache-2.0
"""
What the group gives and takes, in the order in which it does.
"""

from __future__ import annotations

import asyncio

import pytest

from connector.assignments import Assignments
from connector.errors import TopicError


class Shard:
    """
    Runs until it is stopped and then lets itself be held, or until it is abandoned.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.fatal: Exception | None = None
        self.began = False
        self.stopped = asyncio.Event()
        self.abandoned = asyncio.Event()
        self.finish = asyncio.Event()
        self.finish.set()
        self.failure: Exception | None = None

    def stop(self) -> None:
        self.stopped.set()

    def abandon(self) -> None:
        self.abandoned.set()
        self.finish.set()
        self.stopped.set()

    async def run(self) -> None:
        self.began = True
        if self.failure is not None:
            raise self.failure
        await self.stopped.wait()
        await self.finish.wait()


class World:
    def __init__(self) -> None:
        self.made: list[Shard] = []
        self.failures: list[BaseException] = []
        self.held = False
        self.failure: Exception | None = None
        self.assignments = Assignments(
            asyncio.get_running_loop(),
            self.make,
            8,
            self.failures.append,
        )

    def make(self, number: int) -> Shard:
        shard = Shard(number)
        shard.failure = self.failure
        if self.held:
            shard.finish.clear()
        self.made.append(shard)
        return shard


@pytest.fixture
async def world() -> World:
    return World()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_gained_shards_run(world: World) -> None:
    """
    Every shard that was given to us begins.
    """
    world.assignments.on_gained([1, 2])
    await turns()

    assert [1, 2] == [shard.number for shard in world.made if shard.began]
    assert not world.assignments.idle


async def test_losing_waits_for_the_transactions(world: World) -> None:
    """
    A revocation is done when what was lost has ended, not before.
    """
    world.held = True
    world.assignments.on_gained([1, 2])
    await turns()

    ended = world.assignments.on_losing([1, 2])
    await turns()
    assert not ended.done()
    world.made[0].finish.set()
    await turns()
    assert not ended.done()
    world.made[1].finish.set()
    await turns()

    assert ended.done()
    assert world.assignments.idle
    assert {} == world.assignments.shards


async def test_losing_what_we_never_had_is_done_at_once(world: World) -> None:
    """
    Nothing to end is no reason to wait.
    """
    ended = world.assignments.on_losing([5])
    await turns()

    assert ended.done()


async def test_a_shard_given_back_during_a_slow_end_is_served(world: World) -> None:
    """
    The end of the former holder of a number must not take the new one away.
    """
    world.held = True
    world.assignments.on_gained([1])
    await turns()
    ended = world.assignments.on_losing([1])
    await turns()
    world.assignments.on_lost([1])
    world.held = False
    world.assignments.on_gained([1])
    await turns()

    assert ended.done()
    assert world.made[1] is world.assignments.shards[1]
    assert world.made[1].began
    assert not world.made[1].stopped.is_set()


async def test_all_of_it_in_one_turn_of_a_hung_loop_ends_served(world: World) -> None:
    """
    A loop that hung finds revocation, loss and a new assignment together in its queue.
    """
    world.assignments.on_gained([1])
    await turns()

    world.assignments.on_losing([1])
    world.assignments.on_lost([1])
    world.assignments.on_gained([1])
    await turns()

    assert [True, False] == [shard.stopped.is_set() for shard in world.made]
    assert world.made[1] is world.assignments.shards[1]
    assert world.made[1].began


async def test_the_former_holder_ends_before_the_new_one_begins(world: World) -> None:
    """
    One process never has two producers of one transactional id at work.
    """
    world.held = True
    world.assignments.on_gained([1])
    await turns()
    world.made[0].stop()
    world.assignments.on_gained([1])
    await turns()
    assert not world.made[1].began

    world.made[0].finish.set()
    await turns()

    assert world.made[1].began


async def test_lost_shards_are_abandoned(world: World) -> None:
    """
    What is somebody else's already is dropped without waiting.
    """
    world.held = True
    world.assignments.on_gained([1])
    await turns()
    world.assignments.on_lost([1])
    await turns()

    assert world.made[0].abandoned.is_set()
    assert world.assignments.idle


async def test_added_partitions_end_the_worker(world: World) -> None:
    """
    A shard beyond those that were there at the start is refused, by name of the cause.
    """
    world.assignments.on_gained([8])
    await turns()

    (failure,) = world.failures
    assert isinstance(failure, TopicError)
    assert [] == world.made


async def test_a_shard_that_fails_in_an_unknown_way_ends_the_worker(world: World) -> None:
    """
    A swallowed error would leave the shard without an owner for ever.
    """
    world.failure = ValueError("unknown")
    world.assignments.on_gained([1])
    await turns()

    assert [world.failure] == world.failures


async def test_a_fatal_shard_ends_the_worker(world: World) -> None:
    """
    What no restart of a shard can mend is the worker's end.
    """
    world.assignments.on_gained([1])
    await turns()
    world.made[0].fatal = TopicError("gone")
    world.made[0].stop()
    await turns()

    assert [world.made[0].fatal] == world.failures
