# SPDX-License-Identifier: Apache-2.0
"""
The fields of a processed transaction that the connector itself needs (seed 002).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.errors import RejectedRecordError
from connector.providers.base import Identity, Stream
from connector.providers.fields import parse_ms, read_text

ID = "transactionId"
TIME = "processedAt"
MODE = "mode"


def identify(raw: Mapping[str, Any]) -> Identity:
    """
    Read key, id and event time of a transaction; the id is the key (DESIGN section 7).

    Raises:
        RejectedRecordError: There is no usable ``transactionId``.
    """
    transaction = read_text(raw, ID)
    if transaction is None:
        raise RejectedRecordError("missing_id" if raw.get(ID) is None else "invalid_id", ID)
    return Identity(transaction, transaction, parse_ms(raw.get(TIME)))


TRANSACTIONS = Stream(name="transactions", schema="stedi/transactions.avsc", identify=identify)
