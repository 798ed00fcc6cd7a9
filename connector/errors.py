# SPDX-License-Identifier: Apache-2.0
"""
Every error of the connector, sorted by what the reader of it does next.

::

    ConnectorError
    ├── RetryError              try the same again later; nothing is lost meanwhile
    │   ├── RateLimitedError    the provider asked us to wait
    │   ├── CredentialsError    401 or 403: wait longer, read the secret again
    │   └── OutsideError        a broker or registry is missing or not ready
    ├── ReloadError             the position in memory is worthless: read Kafka again
    │   └── FencedError         somebody else initialised our transactional id
    ├── RejectedRecordError     this one item cannot be a record: dead letter
    ├── InternalError           a mistake of ours: the process ends
    └── StoppedError            nothing helps but a person; says which remedy
        ├── SettingsError       the settings are wrong (exit code 2)
        ├── RefusedError        the provider refuses the request for good (4xx)
        ├── FingerprintError    the settings now describe another stream of records
        ├── LostOffsetError     no offset is stored, yet records are there
        └── TopicError          a topic is not what it has to be

Texts name the cause and the remedy. They never hold a secret, a personal datum,
a full URL, or anything that a provider sent (DESIGN, invariant 9).
"""

from __future__ import annotations


class ConnectorError(Exception):
    """
    The root: whatever this project raises on purpose.
    """


class RetryError(ConnectorError):
    """
    The same call may succeed later; until then nothing moves.

    Args:
        message: What failed, for an operator.
        cause: A short label for metrics, such as ``http_5xx`` or ``timeout``.
        retry_after: Seconds that the other side asked us to wait, if it did.
    """

    def __init__(
        self, message: str, *, cause: str = "error", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after = retry_after


class RateLimitedError(RetryError):
    """
    The provider said 429, or its budget headers say that nothing is left.
    """


class CredentialsError(RetryError):
    """
    The provider refused our credentials (401 after a renewal, or 403).

    Retried slowly, because token servers lock accounts, and only after the
    secrets were read from their files again (notes 16).
    """


class OutsideError(RetryError):
    """
    A broker or a registry cannot be reached or is not ready.
    """


class ReloadError(ConnectorError):
    """
    What we believe about our position can no longer be trusted.

    The producer is dropped, the group is asked whether the shard is still ours,
    and the position is read from Kafka again (exactly-once R18).
    """


class FencedError(ReloadError):
    """
    The broker fenced our producer: a successor, or a transaction that expired.
    """


class RejectedRecordError(ConnectorError):
    """
    One item cannot be a record; it becomes a dead letter in the same transaction.

    Args:
        reason: A short label for the dead letter and its metric, such as
            ``missing_id``. Never a value from the item.
        detail: Where in the item, for people. Never a value from the item.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class InternalError(ConnectorError):
    """
    A mistake of ours that no restart of a task can mend; the process ends with 1.
    """


class StoppedError(ConnectorError):
    """
    Waits for a person. The task stands still, visibly, until something changes.

    Args:
        message: What is wrong.
        remedy: What to do about it, as a command or a setting.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class SettingsError(StoppedError):
    """
    One or more settings are wrong; all of them are named, none of the values.
    """


class RefusedError(StoppedError):
    """
    The provider answered with a 4xx that no repetition changes.
    """


class FingerprintError(StoppedError):
    """
    The settings that shape the query are not those under which the offset was stored.
    """


class LostOffsetError(StoppedError):
    """
    No offset is stored although the topic holds committed records of the source.
    """


class TopicError(StoppedError):
    """
    A topic is missing, was replaced, or has settings that cannot be worked with.
    """


def place_of(failure: BaseException) -> dict[str, str]:
    """
    Tell an unexpected error by type and place; its text may hold what a provider sent.
    """
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "unknown"
    if trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return {"type": type(failure).__name__, "at": where}
