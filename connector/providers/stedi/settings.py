# SPDX-License-Identifier: Apache-2.0
"""
What can be set of a Stedi source.
"""

from __future__ import annotations

from pydantic import Field

from connector.providers.settings import FeedSettings, Secret, Url

# Of 500 (the newer pages) and 1000 (an older one) the smaller is safe (seed 002).
MAX_PAGE_SIZE = 500


class StediSettings(FeedSettings):
    """
    The fields of Stedi beside those of every feed.
    """

    base_url: Url = Field(
        default="https://core.us.stedi.com/2023-08-01",
        description="The core API with its dated version.",
    )
    api_key: Secret = Field(
        description="The API key. Its kind decides between test and production data."
    )
    auth_prefix: str = Field(
        default="",
        description="What stands before the key in the `Authorization` header, such as `Key`.",
    )
    page_size: int = Field(
        default=100, ge=1, le=MAX_PAGE_SIZE, description="Transactions to ask for in one request."
    )
