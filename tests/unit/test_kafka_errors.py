# SPDX-License-Identifier: Apache-2.0
"""
What is done about each error of Kafka (exactly-once, section 4).
"""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from connector.errors import FencedError, OutsideError, ReloadError, RetryError
from connector.kafka.errors import Next, as_connector_error, next_step


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (KafkaError(KafkaError._FENCED, "x", fatal=True), Next.FENCED),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "x", fatal=True), Next.FENCED),
        (KafkaError(KafkaError.PRODUCER_FENCED, "x", txn_requires_abort=True), Next.FENCED),
        (KafkaError(KafkaError._TIMED_OUT, "x", retriable=True), Next.SAME_CALL),
        (KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE, "x", retriable=True), Next.SAME_CALL),
        (KafkaError(KafkaError._MSG_TIMED_OUT, "x", txn_requires_abort=True), Next.ABORT),
        (KafkaError(KafkaError.UNKNOWN_PRODUCER_ID, "x", txn_requires_abort=True), Next.RELOAD),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "x", fatal=True), Next.RELOAD),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "x"), Next.CONFIGURATION),
        (KafkaError(KafkaError.INVALID_TRANSACTION_TIMEOUT, "x", fatal=True), Next.CONFIGURATION),
        (KafkaError(KafkaError._STATE, "x"), Next.RELOAD),
    ],
)
def test_each_error_has_one_next_step(error: KafkaError, step: Next) -> None:
    """The flags and a few codes decide; what carries no flag counts as fatal."""
    assert step is next_step(error)


@pytest.mark.parametrize(
    ("code", "flags", "kind"),
    [
        (KafkaError._FENCED, {"fatal": True}, FencedError),
        (KafkaError.MSG_SIZE_TOO_LARGE, {}, OutsideError),
        (KafkaError._STATE, {}, ReloadError),
        (KafkaError._MSG_TIMED_OUT, {"txn_requires_abort": True}, RetryError),
    ],
)
def test_errors_become_ours(code: int, flags: dict[str, bool], kind: type) -> None:
    """Each step is an error of our tree, whose text names the call and Kafka's word."""
    error = as_connector_error(KafkaError(code, "why", **flags), "commit_transaction")

    assert kind is type(error)
    assert "commit_transaction" in str(error)
