# SPDX-License-Identifier: Apache-2.0
"""
What every source can be told, and the types with which a provider declares the rest.

A provider derives from ``FeedSettings`` (a source with a feed) or ``SourceSettings``.
A field ``page_size`` of the source ``stedi:acme`` is the variable
``STEDI_ACME_PAGE_SIZE``; its description, type and default become its line in
``docs/configuration.md``. Required fields have no default. Descriptions are
one or two plain sentences, without the default.

::

    class StediSettings(FeedSettings):
        base_url: Url = Field("https://core.us.stedi.com/2023-08-01", description="…")
        api_key: Secret = Field(description="…")
        page_size: int = Field(100, ge=1, le=500, description="…")

Validators raise ValueError; their texts never hold the value.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from connector.config.values import Duration, ErrorPolicy, Kind, Rate, Secret, Start, Url


class SourceSettings(BaseModel):
    """
    The fields that every source has.

    Attributes:
        source: The name of the source, ``stedi`` or ``stedi:acme``; not a variable.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    source: str = Field(exclude=True)
    # Stands before every URL, whose check looks at it.
    allow_private_addresses: bool = Field(
        default=False,
        description="Let this source speak to addresses inside private networks, and over "
        "plain http. For the sandbox and for gateways of your own.",
    )
    base_url: Url = Field(description="The provider's API, with its version.")
    poll_interval: Duration = Field(
        default=15, description="The wait before asking again when nothing more is there."
    )
    request_timeout: Duration = Field(
        default=30, description="The longest that one request may take, its answer included."
    )
    max_concurrency: int = Field(
        default=64, ge=1, le=1024, description="Requests at the same time, over all workers."
    )
    rate_limit: Rate | None = Field(
        default=None,
        description="Requests to allow in a time, over all workers, such as `100/1m`; "
        "without it only the provider's own answers slow us down.",
    )
    errors: ErrorPolicy | None = Field(
        default=None,
        description="What becomes of an item that cannot be a record: `dead-letter`, or "
        "`stop` its stream. `CONNECTOR_ERRORS` if it is not set.",
    )


class FeedSettings(SourceSettings):
    """
    The fields of a source with a feed: a start, and one request at a time.
    """

    max_concurrency: int = Field(
        default=1, ge=1, le=1024, description="Requests at the same time, over all workers."
    )
    start: Start = Field(
        description="Where a feed begins that has no offset stored: `earliest` (1970), `now`, "
        "`-7d`, or a time such as `2026-01-31T00:00:00Z`. Ignored once an offset is stored."
    )


__all__ = [
    "Duration",
    "ErrorPolicy",
    "FeedSettings",
    "Kind",
    "Rate",
    "Secret",
    "SourceSettings",
    "Start",
    "Url",
]
