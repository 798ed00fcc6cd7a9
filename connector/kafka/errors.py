# SPDX-License-Identifier: Apache-2.0
"""
The one place that decides what a KafkaError means for us (exactly-once, section 4).
"""

from __future__ import annotations

from enum import Enum

from confluent_kafka import KafkaError, KafkaException

from connector.errors import ConnectorError, FencedError, OutsideError, ReloadError, RetryError


class Next(Enum):
    """
    What to do after a failed transactional call.
    """

    SAME_CALL = "same call again"
    ABORT = "abort, position back"
    RELOAD = "drop the producer, read Kafka again"
    FENCED = "fenced: ask the group"
    CONFIGURATION = "wait for a person, visibly"


# Rights and limits that only an administrator changes.
_CONFIGURATION = frozenset(
    {
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
    }
)

# librdkafka would go on with a bumped epoch after these two; a fenced zombie could
# revive that way, so they count as fatal (exactly-once R23).
_STALE_PRODUCER = frozenset(
    {KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.INVALID_PRODUCER_ID_MAPPING}
)

_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
)


def next_step(error: KafkaError) -> Next:
    """
    Map an error of a transactional call to what is done about it.

    An error that carries none of librdkafka's three flags counts as fatal.
    """
    code = error.code()
    verdicts = (
        (code in _FENCED, Next.FENCED),
        (code in _CONFIGURATION, Next.CONFIGURATION),
        (code in _STALE_PRODUCER or error.fatal(), Next.RELOAD),
        (error.txn_requires_abort(), Next.ABORT),
        (error.retriable(), Next.SAME_CALL),
    )
    return next((verdict for holds, verdict in verdicts if holds), Next.RELOAD)


def explain(error: KafkaError) -> str:
    """
    Name an error for an operator: librdkafka's name and its text.
    """
    return f"{error.name()}: {error.str()}"


def as_connector_error(error: KafkaError, doing: str) -> ConnectorError:
    """
    Turn a definite failure of a transactional call into an error of our tree.

    Args:
        error: What librdkafka said.
        doing: The call, for the text, such as ``commit_transaction``.
    """
    text = f"Kafka: {doing} failed ({explain(error)})."
    match next_step(error):
        case Next.FENCED:
            return FencedError(f"{text} Another producer took over, or the transaction expired.")
        case Next.CONFIGURATION:
            return OutsideError(
                f"{text} Check rights and limits on the broker; the position is kept "
                "and this is tried again.",
                cause="kafka_configuration",
            )
        case Next.RELOAD | Next.SAME_CALL:
            return ReloadError(text)
        case Next.ABORT:
            return RetryError(text, cause="kafka_abort")


def kafka_error(exception: KafkaException) -> KafkaError:
    """
    Unwrap the KafkaError that a KafkaException carries.
    """
    error = exception.args[0] if exception.args else None
    if isinstance(error, KafkaError):
        return error
    return KafkaError(KafkaError._FAIL, str(exception))
