# SPDX-License-Identifier: Apache-2.0
"""
Who is a member of a group, asked from outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connector.errors import OutsideError
from connector.kafka.errors import explain, kafka_error

_TIMEOUT = 15.0


def members(admin: AdminClient, group_id: str) -> Sequence[Any]:
    """
    List the members of a group; none if there is no such group.

    Returns:
        Their descriptions, each with ``client_id`` and ``host``.

    Raises:
        OutsideError: Kafka did not answer.
    """
    future = admin.describe_consumer_groups([group_id])[group_id]
    try:
        found: Sequence[Any] = future.result(_TIMEOUT).members
    except KafkaException as failure:
        raise OutsideError(
            f"Kafka: group {group_id} cannot be described ({explain(kafka_error(failure))}).",
            cause="kafka",
        ) from None
    except TimeoutError:
        raise OutsideError("Kafka: no answer about the group.", cause="kafka") from None
    return found
