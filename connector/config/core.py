# SPDX-License-Identifier: Apache-2.0
"""
The settings that concern no source, no broker and no registry: ``CONNECTOR_…``.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from connector.config.values import Duration, ErrorPolicy, Kind

PREFIX: Final = "CONNECTOR_"


def _check_name(text: str) -> str:
    # Kafka's own rule for topics; 100 leaves room for the prefix and ".dead-letters".
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError("has to be 1 to 100 letters, digits, '.', '_', '-', a letter first")
    return text


def _check_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", text):
        raise ValueError("has to be at most 100 letters, digits, '.', '_', '-'")
    return text


def _check_factor(number: int) -> int:
    if number == 0 or number < -1:
        raise ValueError("has to be at least 1, or -1 for the broker's default")
    return number


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    return value


class CoreSettings(BaseModel):
    """
    What the worker itself is told. ``name`` and ``sources`` are empty if not needed.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_by_name=True
    )

    name: Annotated[str, AfterValidator(_check_name)] = Field(
        default="",
        description="The name of this connector: of its consumer group, its transactional ids "
        "and its own topics. Workers with the same name share the work.",
    )
    source_names: Annotated[tuple[str, ...], BeforeValidator(_split), Kind("list", ",".join)] = (
        Field(
            default=(),
            alias="sources",
            description="What to read, such as `monetago,stedi,stedi:acme`: providers, and further "
            "accounts of them (lower-case letters and digits).",
        )
    )
    shards: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="The partitions of the offsets topic, and with them the most workers that "
        "can share the work. Read only when that topic is created.",
    )
    topic_prefix: Annotated[str, AfterValidator(_check_prefix)] = Field(
        default="",
        description="Stands before the name of every topic, of the group and of transactional "
        "ids, as it is.",
    )
    topic_create: bool = Field(default=True, description="Create missing topics.")
    topic_partitions: int = Field(
        default=6, ge=1, le=10_000, description="Partitions of a data topic that is created."
    )
    topic_replication_factor: Annotated[int, AfterValidator(_check_factor)] = Field(
        default=-1,
        description="Replicas of a topic that is created; `-1` is the broker's default.",
    )
    admin_host: str = Field(
        default="127.0.0.1",
        description="Where health, metrics and status listen. Probes and published ports of a "
        "container need `0.0.0.0`.",
    )
    admin_port: int = Field(default=8080, ge=0, le=65535, description="Its port; `0` takes any.")
    errors: ErrorPolicy = Field(
        default="dead-letter",
        description="What becomes of an item that cannot be a record: `dead-letter`, or `stop` "
        "its stream. A source may differ.",
    )
    drain_timeout: Duration = Field(
        default=20, description="How long a stop waits for transactions under way."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is logged."
    )
    log_format: Literal["json", "console"] | None = Field(
        default=None,
        description="How a log line looks. Without it `console` on a terminal, else `json`.",
    )
    http_trust_env: bool = Field(
        default=False,
        description="Obey `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` for calls of providers.",
    )
