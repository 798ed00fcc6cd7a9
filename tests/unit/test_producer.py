# SPDX-License-Identifier: Apache-2.0
"""
What comes out of a producer whatever librdkafka says, and at which call.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.errors import ConnectorError, FencedError, OutsideError, ReloadError, RetryError
from connector.kafka import producer as module
from connector.kafka.producer import (
    StateWrite,
    Transaction,
    TransactionalProducer,
    transactional_config,
)
from connector.unit import Message


class Script:
    """
    Stands for librdkafka's producer: each call takes its next outcome from a script.
    """

    def __init__(self, _config: object, **_more: object) -> None:
        self.outcomes: dict[str, list[object]] = {}
        self.calls: list[str] = []
        self.produced: list[dict[str, object]] = []
        self.on_error: Any = _more.get("error_cb")

    def _take(self, name: str) -> None:
        self.calls.append(name)
        outcomes = self.outcomes.get(name, [])
        outcome = outcomes.pop(0) if outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        if callable(outcome):
            outcome()

    def init_transactions(self, _timeout: float) -> None:
        self._take("init")

    def begin_transaction(self) -> None:
        self._take("begin")

    def commit_transaction(self, _timeout: float) -> None:
        self._take("commit")

    def abort_transaction(self, _timeout: float) -> None:
        self._take("abort")

    def produce(self, topic: str, **words: object) -> None:
        self._take("produce")
        self.produced.append({"topic": topic, **words})

    def poll(self, _timeout: float) -> int:
        self._take("poll")
        return 0


def error(code: int, **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, "text", **flags))


TRANSACTION = Transaction(
    [(Message("t", b"k", b"v", "i"), b"0.1.1", 1)], [StateWrite(b"a/b", b"{}")]
)


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    monkeypatch.setattr(module, "Producer", Script)
    return TransactionalProducer(
        {"transaction.timeout.ms": 15_000},
        offsets_topic="o",
        shard=3,
        logger=None,
        stop=threading.Event(),
        patience=0.2,
    )


def script(producer: TransactionalProducer, **outcomes: list[object]) -> Script:
    stand_in: Any = producer._producer
    stand_in.outcomes = outcomes
    return stand_in


def test_a_transaction_is_begun_filled_and_committed(producer: TransactionalProducer) -> None:
    """
    The offset record follows the data, in one transaction.
    """
    calls = script(producer).calls

    producer.send(TRANSACTION)

    assert ["begin", "produce", "produce", "poll", "commit", "poll"] == calls
    assert not producer.worn


@pytest.mark.parametrize("call", ["begin", "produce", "poll", "commit"])
def test_a_fence_is_a_fence_wherever_it_shows(call: str, producer: TransactionalProducer) -> None:
    """
    A fatal error comes out of any call, poll included, and never ends the worker.
    """
    script(producer, **{call: [error(KafkaError._FENCED, fatal=True)]})

    with pytest.raises(FencedError):
        producer.send(TRANSACTION)


def test_a_fence_after_the_commit_leaves_it_committed(producer: TransactionalProducer) -> None:
    """
    What was committed counts; the next transaction gets another producer.
    """
    script(producer, poll=[None, error(KafkaError._FENCED, fatal=True)])

    producer.send(TRANSACTION)

    assert producer.worn


@pytest.mark.parametrize(
    ("failure", "expected", "aborts"),
    [
        (error(KafkaError._TIMED_OUT, txn_requires_abort=True), RetryError, True),
        (error(KafkaError.TOPIC_AUTHORIZATION_FAILED, txn_requires_abort=True), OutsideError, True),
        (error(KafkaError.INVALID_PRODUCER_ID_MAPPING, txn_requires_abort=True), ReloadError, True),
        (error(KafkaError._FAIL), ReloadError, True),
        (error(KafkaError._FENCED, fatal=True), FencedError, False),
    ],
)
def test_what_a_failed_commit_becomes(
    failure: KafkaException,
    expected: type[ConnectorError],
    aborts: bool,  # noqa: FBT001 - pytest gives it by name
    producer: TransactionalProducer,
) -> None:
    """
    Section 4 of the rules: abort where one can, else drop; nothing is smoothed over.
    """
    calls = script(producer, commit=[failure]).calls

    with pytest.raises(expected):
        producer.send(TRANSACTION)

    assert aborts == ("abort" in calls)


def test_an_indefinite_commit_is_asked_again(producer: TransactionalProducer) -> None:
    """
    Only the same call tells how a commit ended; nothing else comes between (R17).
    """
    calls = script(producer, commit=[error(KafkaError._TIMED_OUT, retriable=True)] * 2).calls

    producer.send(TRANSACTION)

    assert ["commit"] * 3 == calls[4:7]


def test_a_commit_that_stays_indefinite_is_for_kafka_to_say(
    producer: TransactionalProducer,
) -> None:
    """
    Neither aborted nor begun anew: the shard reads what is true (R18).
    """
    calls = script(producer, commit=[error(KafkaError._TIMED_OUT, retriable=True)] * 99).calls

    with pytest.raises(ReloadError, match="no definite answer"):
        producer.send(TRANSACTION)

    assert "abort" not in calls


def test_an_abandoned_shard_waits_for_nothing(producer: TransactionalProducer) -> None:
    """
    Who is told to end now asks once more at most.
    """
    calls = script(producer, init=[error(KafkaError._TIMED_OUT, retriable=True)] * 99).calls
    producer._stop.set()

    with pytest.raises(ReloadError):
        producer.init()

    assert ["init"] == calls


def test_a_full_queue_is_waited_for(producer: TransactionalProducer) -> None:
    """
    A refused message is produced again, never left out (invariant 5).
    """
    calls = script(producer, produce=[BufferError(), BufferError()]).calls

    producer.send(TRANSACTION)

    assert 4 == calls.count("produce")
    assert "commit" in calls


def test_a_queue_that_stays_full_aborts(
    producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    After a third of the transaction's life it is given up as a whole.
    """
    monkeypatch.setattr(producer, "_timeout", 0.0)
    calls = script(producer, produce=[BufferError()] * 99).calls

    with pytest.raises(ReloadError):
        producer.send(TRANSACTION)

    assert "commit" not in calls


def test_no_more_is_produced_while_the_queue_is_full(producer: TransactionalProducer) -> None:
    """
    Room comes from polling alone, so each refusal is followed by a poll.
    """
    calls = script(producer, produce=[BufferError(), BufferError(), None, BufferError()]).calls

    producer.send(TRANSACTION)

    expected = ["begin", *["produce", "poll"] * 2, "produce", "produce", "poll", "produce"]
    assert [*expected, "poll", "commit", "poll"] == calls


def test_a_stop_ends_the_wait_for_room(producer: TransactionalProducer) -> None:
    """
    Who has to end now does not wait for a queue.
    """
    producer._stop.set()
    calls = script(producer, produce=[BufferError()] * 99).calls

    with pytest.raises(ReloadError):
        producer.send(TRANSACTION)

    assert ["begin", "produce", "abort"] == calls


def test_what_a_transaction_holds(producer: TransactionalProducer) -> None:
    """
    Headers are text, data is stamped with its poll, and offset records come last (R12).
    """
    stand_in = script(producer)
    messages = [
        (Message("t", b"k", b"v", "i-\u00e9", 1699, (("backfill", b"1"),)), b"0.1.1", 1700),
        (Message("u", None, None, "j"), b"0.1.2", 1701),
    ]
    state = [StateWrite(b"a/b", b"{}"), StateWrite(b"a/b#x", None)]

    producer.send(Transaction(messages, state))

    first = [("id", b"i-\xc3\xa9"), ("seq", b"0.1.1"), ("event_time", b"1699"), ("backfill", b"1")]
    second = [("id", b"j"), ("seq", b"0.1.2")]
    assert [
        {"topic": "t", "key": b"k", "value": b"v", "headers": first, "timestamp": 1700},
        {"topic": "u", "key": None, "value": None, "headers": second, "timestamp": 1701},
        {"topic": "o", "key": b"a/b", "value": b"{}", "partition": 3},
        {"topic": "o", "key": b"a/b#x", "value": None, "partition": 3},
    ] == stand_in.produced


def test_an_event_at_the_epoch_has_its_header(producer: TransactionalProducer) -> None:
    """
    Zero is a time; only None means that the provider gives none.
    """
    stand_in = script(producer)

    producer.send(Transaction([(Message("t", None, b"v", "i", 0), b"0.1.1", 1)], ()))

    assert [("id", b"i"), ("seq", b"0.1.1"), ("event_time", b"0")] == stand_in.produced[0][
        "headers"
    ]


def test_reports_are_served_in_between(producer: TransactionalProducer) -> None:
    """
    A large transaction polls as it goes, or reports would fill the queue (P4).
    """
    calls = script(producer).calls
    message = (Message("t", None, b"v", "i"), b"0.1.1", 1)

    producer.send(Transaction([message] * (2 * module._POLL_EVERY), ()))

    assert 2 == calls[: calls.index("commit") - 1].count("poll")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (error(KafkaError.MSG_SIZE_TOO_LARGE), OutsideError),
        (error(KafkaError._STATE), ReloadError),
        (error(KafkaError._UNKNOWN_PARTITION), ReloadError),
        (error(KafkaError._TIMED_OUT, txn_requires_abort=True), RetryError),
    ],
)
def test_a_refused_message_ends_the_transaction(
    failure: KafkaException,
    expected: type[ConnectorError],
    place: int,
    producer: TransactionalProducer,
) -> None:
    """
    A swallowed refusal would be a lost record, of data as of offsets (invariant 5).
    """
    calls = script(producer, produce=[*[None] * place, failure]).calls

    with pytest.raises(expected):
        producer.send(TRANSACTION)

    assert ["begin", *["produce"] * (place + 1), "abort"] == calls


def test_an_abort_is_repeated_until_it_is_definite(producer: TransactionalProducer) -> None:
    """
    Readers wait for what stays open; the first error is the one that is told.
    """
    calls = script(
        producer,
        commit=[error(KafkaError._MSG_TIMED_OUT, txn_requires_abort=True)],
        abort=[error(KafkaError._TIMED_OUT, retriable=True)] * 2,
    ).calls

    with pytest.raises(RetryError, match="_MSG_TIMED_OUT"):
        producer.send(TRANSACTION)

    assert ["abort"] * 3 == calls[-3:]


def test_a_failed_abort_is_left_to_the_next_owner(producer: TransactionalProducer) -> None:
    """
    What the abort says changes nothing: the producer is spent anyway.
    """
    calls = script(
        producer,
        commit=[error(KafkaError._MSG_TIMED_OUT, txn_requires_abort=True)],
        abort=[error(KafkaError._FENCED, fatal=True)] * 2,
    ).calls

    with pytest.raises(RetryError, match="_MSG_TIMED_OUT"):
        producer.send(TRANSACTION)

    assert 1 == calls.count("abort")


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
@pytest.mark.parametrize("call", ["commit", "poll"])
def test_a_disconnect_during_a_commit_wears_the_producer(
    call: str, code: int, producer: TransactionalProducer
) -> None:
    """
    The commit counts, the next transaction gets another producer (R19).
    """
    stand_in = script(producer)
    lost = lambda: stand_in.on_error(KafkaError(code, "text"))  # noqa: E731
    stand_in.outcomes = {call: [lost] if call == "commit" else [None, lost]}

    producer.send(TRANSACTION)

    assert producer.worn


@pytest.mark.parametrize("call", ["begin", "produce", "poll"])
def test_a_disconnect_before_a_commit_wears_nothing(
    call: str, producer: TransactionalProducer
) -> None:
    """
    Idle connections are closed all day; only one during the commit leaves a doubt.
    """
    stand_in = script(producer)
    stand_in.outcomes = {
        call: [lambda: stand_in.on_error(KafkaError(KafkaError._TRANSPORT, "text"))]
    }

    producer.send(TRANSACTION)

    assert not producer.worn


def test_a_commit_longer_than_the_transaction_wears_the_producer(
    producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The broker may have ended it meanwhile, as an expired one.
    """
    now = [0.0]
    monkeypatch.setattr(producer, "_clock", lambda: now[0])
    script(producer, commit=[lambda: now.__setitem__(0, 15.5)])

    assert 15.5 == producer.send(TRANSACTION)
    assert producer.worn


def test_what_keeps_a_producer_correct_cannot_be_set_otherwise() -> None:
    """
    Whatever a user sets: idempotent, acknowledged by all, 15 s, Java's partitions.
    """
    correct = {
        "transactional.id": "test-3",
        "client.id": "test-3",
        "transaction.timeout.ms": 15_000,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "message.max.bytes": 8_388_608,
        "delivery.report.only.error": True,
        "allow.auto.create.topics": False,
    }

    config = transactional_config(
        dict.fromkeys(correct, "1"),
        transactional_id="test-3",
        smallest_limit=1_048_588,
        largest_limit=8_388_608,
    )

    assert correct == {name: config[name] for name in correct}


def test_a_users_properties_pass_through() -> None:
    """
    Connection settings and what tunes a producer are the user's.
    """
    users = {
        "bootstrap.servers": "kafka.example.com:9092",
        "linger.ms": "50",
        "compression.type": "zstd",
        "queue.buffering.max.messages": "7",
    }

    config = transactional_config(
        users, transactional_id="i", smallest_limit=1_048_588, largest_limit=1_048_588
    )

    assert users == {name: config[name] for name in users}


@pytest.mark.parametrize(
    ("base", "smallest", "expected"),
    [
        ({}, 8_388_608, 1_000_000),
        ({}, 500_000, 500_000 - 1024),
        ({"batch.size": "5000000"}, 1_048_588, 1_048_588 - 1024),
        ({"batch.size": "5000000"}, 8_388_608, 5_000_000),
        ({"batch.size": "1000"}, 1_048_588, 1000),
        ({}, 100, 1),
    ],
)
def test_a_batch_stays_below_the_smallest_limit(
    base: dict[str, str], smallest: int, expected: int
) -> None:
    """
    A broker refuses batches, not records: no setting makes one too large for a topic.
    """
    config = transactional_config(
        base, transactional_id="i", smallest_limit=smallest, largest_limit=8_388_608
    )

    assert expected == config["batch.size"]
