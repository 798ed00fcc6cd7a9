# SPDX-License-Identifier: Apache-2.0
"""
What a contender is told: where to read, where to write.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SCHEMA = Path(__file__).parents[1] / "schemas" / "monetago" / "activity.avsc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    The one argument of a contender, as JSON.

    Attributes:
        api: MonetaGo's base URL.
        token_url: Where a token is had.
        credentials: What is sent there.
        after: Start of the backlog, ISO 8601.
        bootstrap: Kafka's bootstrap servers.
        registry: The registry's URL.
        topic: Where the records go.
        state_topic: Where the position goes, in the same transaction.
        pages: Pages in one transaction.
        own_writer: Encode with the connector's Avro writer (the ceiling only).
    """

    api: str
    token_url: str
    credentials: dict[str, str]
    after: str
    bootstrap: str
    registry: str
    topic: str
    state_topic: str
    pages: int
    own_writer: bool

    @classmethod
    def from_argv(cls) -> Job:
        """
        Read the argument.
        """
        return cls(**json.loads(sys.argv[1]))

    def argument(self) -> str:
        """
        Write the argument.
        """
        return json.dumps(asdict(self))
