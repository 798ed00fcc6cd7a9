# SPDX-License-Identifier: Apache-2.0
"""
What a member of the group does at each assignment, and what it says of ownership.

The group's thread is never started: its loop and its callbacks run in the test, on a
stand-in for librdkafka's consumer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from connector.kafka import group as module
from connector.kafka.group import Group, Proof, group_config

TOPIC = "test.offsets"


class Script:
    """Stands for librdkafka's consumer: keeps what it was called with, polls by a script."""

    def __init__(self, config: dict[str, Any], **_more: object) -> None:
        self.config = config
        self.calls: list[tuple[Any, ...]] = []
        self.polls: list[Callable[[], object]] = []
        self.exhausted: Callable[[], None] = lambda: None
        self.failure: Exception | None = None
        self.errors: dict[int, KafkaError] = {}

    def subscribe(self, topics: list[str], **_callbacks: object) -> None:
        self.calls.append(("subscribe", topics))

    def poll(self, _timeout: float) -> object:
        self.calls.append(("poll",))
        if self.polls:
            return self.polls.pop(0)()
        return self.exhausted()

    def close(self) -> None:
        self.calls.append(("close",))

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        numbers = [place.partition for place in offsets]
        self.calls.append(("commit", numbers, asynchronous))
        if self.failure is not None:
            raise self.failure
        return [SimpleNamespace(partition=n, error=self.errors.get(n)) for n in numbers]

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.calls.append(("assign", [(p.topic, p.partition, p.offset) for p in places]))

    def pause(self, places: list[TopicPartition]) -> None:
        self.calls.append(("pause", [(p.topic, p.partition) for p in places]))

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self.calls.append(("unassign", [p.partition for p in places]))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Give the calls of one name."""
        return [call for call in self.calls if call[0] == name]


class Shards:
    """Keeps what the group says; a shard's end is the test's to tell."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[int]]] = []
        self.ended: Future[None] = Future()
        self.while_losing: Callable[[], None] = lambda: None

    def on_gained(self, partitions: Sequence[int]) -> None:
        self.heard.append(("gained", list(partitions)))

    def on_losing(self, partitions: Sequence[int]) -> Future[None]:
        self.heard.append(("losing", list(partitions)))
        self.while_losing()
        return self.ended

    def on_lost(self, partitions: Sequence[int]) -> None:
        self.heard.append(("lost", list(partitions)))


class Bench:
    """A group that is not started, with everything around it."""

    def __init__(self) -> None:
        self.shards = Shards()
        self.alive: list[bool] = []
        self.group = Group(
            group_config({}, group_id="test", client_id="worker"),
            topic=TOPIC,
            listener=self.shards,
            alive=lambda: self.alive.pop(0) if self.alive else True,
            revoke_seconds=2.0,
            logger=None,
        )
        consumer: Any = self.group._consumer
        self.consumer: Script = consumer

    def gain(self, *numbers: int) -> None:
        """Assign shards."""
        self.group._on_assign(self.consumer, places(*numbers))

    def ask(self, shard: int) -> Future[Proof]:
        """Ask for a proof, as another thread does."""
        answer: Future[Proof] = Future()
        self.group._questions.put((shard, answer))
        return answer

    def prove(self, shard: int) -> Proof:
        """Ask for a proof and take it."""
        answer = self.ask(shard)
        self.group._answer()
        return answer.result(0)


def places(*numbers: int) -> list[TopicPartition]:
    """Make partitions of the offsets topic."""
    return [TopicPartition(TOPIC, number) for number in numbers]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "Consumer", Script)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)
    return Bench()


def test_what_is_assigned_is_paused_at_the_end(bench: Bench) -> None:
    """The offsets topic is never read through the group; a pause before it would be lost."""
    bench.gain(4, 1)

    assert [
        ("assign", [(TOPIC, 4, OFFSET_END), (TOPIC, 1, OFFSET_END)]),
        ("pause", [(TOPIC, 4), (TOPIC, 1)]),
    ] == bench.consumer.calls
    assert [("gained", [1, 4])] == bench.shards.heard


def test_an_empty_assignment_is_membership_too(bench: Bench) -> None:
    """A worker without a shard is a member, and has nothing to pause."""
    assert not bench.group.joined

    bench.gain()

    assert bench.group.joined
    assert [] == bench.consumer.named("pause")


def test_assignments_add_up(bench: Bench) -> None:
    """The cooperative protocol tells what comes and what goes, not the whole."""
    bench.shards.ended.set_result(None)
    bench.gain(1, 2)
    bench.gain(3)
    bench.group._on_revoke(bench.consumer, places(2))

    assert frozenset({1, 3}) == bench.group.assigned


def test_a_revocation_waits_for_the_shards_and_then_lets_go(bench: Bench) -> None:
    """Shards that end in time are given up, not called lost."""
    bench.gain(1)
    bench.shards.ended.set_result(None)

    bench.group._on_revoke(bench.consumer, places(1))

    assert [("gained", [1]), ("losing", [1])] == bench.shards.heard
    assert ("unassign", [1]) == bench.consumer.calls[-1]


def test_proofs_are_answered_during_a_revocation(bench: Bench) -> None:
    """A shard that waits for its proof before it can end does not deadlock the revocation."""
    bench.gain(1, 2)
    answers: list[Future[Proof]] = []

    def ask() -> None:
        answers.extend([bench.ask(1), bench.ask(2)])
        answers[-1].add_done_callback(lambda _: bench.shards.ended.set_result(None))

    bench.shards.while_losing = ask

    bench.group._on_revoke(bench.consumer, places(1))

    assert [True, True] == [answer.done() for answer in answers]
    assert [Proof.NOT_OURS, Proof.OURS] == [answer.result(0) for answer in answers]
    assert ("lost", [1]) not in bench.shards.heard


def test_shards_that_end_too_late_are_lost(bench: Bench) -> None:
    """At the deadline others may write: the shards hear it before the group lets go."""
    bench.group._revoke_seconds = 0.0
    bench.gain(1)
    unassigned: list[bool] = []
    lost = bench.shards.on_lost

    def on_lost(partitions: Sequence[int]) -> None:
        unassigned.append(bool(bench.consumer.named("unassign")))
        lost(partitions)

    bench.shards.on_lost = on_lost  # type: ignore[method-assign] - looks at the order

    bench.group._on_revoke(bench.consumer, places(1))

    assert [("gained", [1]), ("losing", [1]), ("lost", [1])] == bench.shards.heard
    assert [False] == unassigned
    assert [("unassign", [1])] == bench.consumer.named("unassign")


def test_what_is_lost_is_not_waited_for(bench: Bench) -> None:
    """Lost shards are somebody else's: they only hear it, and we are no member any more."""
    bench.gain(1, 2)

    bench.group._on_lost(bench.consumer, places(1, 2))

    assert [("gained", [1, 2]), ("lost", [1, 2])] == bench.shards.heard
    assert ("unassign", [1, 2]) == bench.consumer.calls[-1]
    assert frozenset() == bench.group.assigned
    assert not bench.group.joined


def test_a_hung_event_loop_is_not_hidden_by_polling(bench: Bench) -> None:
    """Without polls the worker loses its shards to others; questions still get answers."""
    bench.gain(1)
    beat = bench.group.beat
    answer = bench.ask(1)
    # The answer comes behind the first round; it is also what ends the test.
    answer.add_done_callback(lambda _: bench.group.leave())
    bench.alive = [False] * 3

    bench.group.run()

    assert [] == bench.consumer.named("poll")
    assert beat == bench.group.beat
    assert Proof.OURS is answer.result(0)


def test_it_polls_again_once_the_loop_is_alive(bench: Bench) -> None:
    """A pause of the event loop is not the end of the membership."""
    bench.alive = [False, False, True]
    bench.consumer.exhausted = bench.group.leave
    beat = bench.group.beat

    bench.group.run()

    assert [("subscribe", [TOPIC]), ("poll",), ("close",)] == bench.consumer.calls
    assert beat < bench.group.beat


def test_the_last_questions_are_answered_when_it_leaves(bench: Bench) -> None:
    """Nobody waits for ever for a group that is gone."""
    bench.gain(1)
    bench.consumer.failure = RuntimeError("Consumer closed")
    answer = Future[Proof]()
    bench.consumer.close = lambda: bench.group._questions.put(  # type: ignore[method-assign] - last
        (1, answer)
    )
    bench.group.leave()

    bench.group.run()

    assert Proof.NOT_OURS is answer.result(0)


def failed(code: int) -> KafkaException:
    """Make what a commit raises."""
    return KafkaException(KafkaError(code, "text"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.UNKNOWN_MEMBER_ID, Proof.NOT_OURS),
        (KafkaError.ILLEGAL_GENERATION, Proof.NOT_OURS),
        (KafkaError.FENCED_INSTANCE_ID, Proof.NOT_OURS),
        (KafkaError._TIMED_OUT, Proof.UNSURE),
        (KafkaError.REBALANCE_IN_PROGRESS, Proof.UNSURE),
    ],
)
def test_what_a_refused_commit_proves(code: int, expected: Proof, bench: Bench) -> None:
    """Only a coordinator that does not know us says not ours; the rest is unsure."""
    bench.gain(1)

    bench.consumer.failure = failed(code)
    assert expected is bench.prove(1)

    bench.consumer.failure = None
    bench.consumer.errors = {1: KafkaError(code, "text")}
    assert expected is bench.prove(1)


def test_questions_that_wait_share_one_synchronous_commit(bench: Bench) -> None:
    """While a broker is away each commit takes seconds: there is one for all who ask."""
    bench.gain(1, 2)
    answers = [bench.ask(shard) for shard in (1, 2, 1, 7)]

    bench.group._answer()

    assert [("commit", [1, 2], False)] == bench.consumer.named("commit")
    assert [Proof.OURS, Proof.OURS, Proof.OURS, Proof.NOT_OURS] == [a.result(0) for a in answers]


def test_a_shard_that_was_not_assigned_is_not_committed_for(bench: Bench) -> None:
    """The coordinator takes a member's commit for any partition: it would prove nothing."""
    assert Proof.NOT_OURS is bench.prove(1)
    assert [] == bench.consumer.named("commit")


async def test_who_gave_up_waiting_is_not_answered(bench: Bench) -> None:
    """A question that was cancelled costs no commit, and the next one is answered."""
    bench.gain(1)
    given_up = asyncio.create_task(bench.group.prove(1))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    bench.group._answer()
    assert [] == bench.consumer.named("commit")

    asked = asyncio.create_task(bench.group.prove(1))
    await asyncio.sleep(0)
    bench.group._answer()

    assert Proof.OURS is await asked


def test_a_deleted_topic_is_seen(bench: Bench) -> None:
    """The worker stops when the offsets topic goes; other errors of a poll pass."""
    bench.consumer.exhausted = bench.group.leave
    heard: list[bool] = []

    def message(code: int) -> Callable[[], object]:
        def poll() -> object:
            heard.append(bench.group.topic_gone)
            return SimpleNamespace(error=lambda: KafkaError(code, "text"), partition=lambda: 0)

        return poll

    bench.consumer.polls = [
        message(KafkaError._TRANSPORT),
        message(KafkaError._PARTITION_EOF),
        message(KafkaError.UNKNOWN_TOPIC_OR_PART),
    ]

    bench.group.run()

    assert [False, False, False] == heard
    assert bench.group.topic_gone


def test_what_the_group_depends_on_cannot_be_set_otherwise() -> None:
    """A user may set the two times; never the protocol, nor a commit by itself."""
    config = group_config(
        {
            "session.timeout.ms": "1500",
            "security.protocol": "SSL",
            "group.id": "mine",
            "group.protocol": "consumer",
            "partition.assignment.strategy": "range",
            "enable.auto.commit": True,
            "heartbeat.interval.ms": 9_000,
        },
        group_id="test",
        client_id="worker",
    )

    expected = {
        "security.protocol": "SSL",
        "group.id": "test",
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "heartbeat.interval.ms": 500,
        "max.poll.interval.ms": 60_000,
    }
    assert expected == {name: config[name] for name in expected}
    assert 1500 == int(config["session.timeout.ms"])
    assert 10_000 == group_config({}, group_id="g", client_id="c")["session.timeout.ms"]
