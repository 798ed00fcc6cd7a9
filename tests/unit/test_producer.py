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
from connector.kafka.producer import StateWrite, Transaction, TransactionalProducer
from connector.unit import Message


class Script:
    """
    Stands for librdkafka's producer: each call takes its next outcome from a script.
    """

    def __init__(self, _config: object, **_more: object) -> None:
        self.outcomes: dict[str, list[object]] = {}
        self.calls: list[str] = []

    def _take(self, name: str) -> None:
        self.calls.append(name)
        outcomes = self.outcomes.get(name, [])
        outcome = outcomes.pop(0) if outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome

    def init_transactions(self, _timeout: float) -> None:
        self._take("init")

    def begin_transaction(self) -> None:
        self._take("begin")

    def commit_transaction(self, _timeout: float) -> None:
        self._take("commit")

    def abort_transaction(self, _timeout: float) -> None:
        self._take("abort")

    def produce(self, topic: str, **_words: object) -> None:
        self._take("produce")

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
        shard=0,
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
