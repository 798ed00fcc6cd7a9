# SPDX-License-Identifier: Apache-2.0
"""
MonetaGo (SWIFT Secure Financing): the activity of all registrations of a client.
"""

from __future__ import annotations

from connector.providers.base import Provider
from connector.providers.monetago.api import ActivityFeed
from connector.providers.monetago.records import ACTIVITY
from connector.providers.monetago.settings import MonetagoSettings
from connector.upstream.auth import OAuth2ClientCredentials


def _auth(settings: MonetagoSettings) -> OAuth2ClientCredentials:
    return OAuth2ClientCredentials(
        token_url=settings.token_url,
        client_id=settings.client_id,
        client_secret=settings.client_secret.read,
        audience=settings.audience,
    )


def _feeds(settings: MonetagoSettings) -> tuple[ActivityFeed]:
    return (
        ActivityFeed(
            base_url=settings.base_url,
            client_id=settings.client_id,
            overlap=settings.overlap,
            page_limit=settings.page_limit,
        ),
    )


PROVIDER = Provider(
    name="monetago",
    settings=MonetagoSettings,
    streams=(ACTIVITY,),
    auth=_auth,
    feeds=_feeds,
)

__all__ = ["PROVIDER"]
