# SPDX-License-Identifier: Apache-2.0
"""
The fields of an activity event that the connector itself needs (seed 000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.errors import RejectedRecordError
from connector.providers.base import Identity, Stream
from connector.providers.fields import parse_ms, read_text

ID = "event_identification"
TIME = "event_date_time"
_KEY = "data_set_identification"


def identify(raw: Mapping[str, Any]) -> Identity:
    """
    Read key, id and event time of an event.

    The key is the data set, whose events are in order; without one the event stands for
    itself (DESIGN section 7).

    Raises:
        RejectedRecordError: There is no usable ``event_identification``.
    """
    event = read_text(raw, ID)
    if event is None:
        raise RejectedRecordError("missing_id" if raw.get(ID) is None else "invalid_id", ID)
    return Identity(read_text(raw, _KEY) or event, event, parse_ms(raw.get(TIME)))


ACTIVITY = Stream(name="activity", schema="monetago/activity.avsc", identify=identify)
