# SPDX-License-Identifier: Apache-2.0
"""
What can be set of a MonetaGo source.
"""

from __future__ import annotations

from pydantic import Field

from connector.providers.settings import Duration, FeedSettings, Secret, Url


class MonetagoSettings(FeedSettings):
    """
    The fields of MonetaGo beside those of every feed (hosts: seed 001).
    """

    base_url: Url = Field(
        default="https://api.securefinancing.com/v1",
        description="The API with its version. The customer test environment is "
        "`https://api.uat.securefinancing.com/v1`.",
    )
    token_url: Url = Field(
        default="https://auth.securefinancing.com/oauth/token",
        description="Where access tokens come from. The customer test environment is "
        "`https://auth.uat.securefinancing.com/oauth/token`.",
    )
    client_id: str = Field(min_length=1, description="The OAuth2 client id that MonetaGo gave.")
    client_secret: Secret = Field(description="The OAuth2 client secret that MonetaGo gave.")
    audience: str = Field(min_length=1, description="The OAuth2 audience that MonetaGo gave.")
    overlap: Duration = Field(
        default=600,
        description="How long after its event time an event may still appear. So far back "
        "every poll reads again; `connector_late_arrival_seconds` shows how much is needed.",
    )
    page_limit: int = Field(
        default=1000, ge=1, le=5000, description="Events to ask for in one request."
    )
