# SPDX-License-Identifier: Apache-2.0
"""
Stedi: the transactions that its core has processed.
"""

from __future__ import annotations

from connector.providers.base import Provider
from connector.providers.stedi.api import TransactionsFeed
from connector.providers.stedi.records import TRANSACTIONS
from connector.providers.stedi.settings import StediSettings
from connector.upstream.auth import ApiKey


def _auth(settings: StediSettings) -> ApiKey:
    return ApiKey(key=settings.api_key.read, prefix=settings.auth_prefix)


def _feeds(settings: StediSettings) -> tuple[TransactionsFeed]:
    return (TransactionsFeed(base_url=settings.base_url, page_size=settings.page_size),)


PROVIDER = Provider(
    name="stedi",
    settings=StediSettings,
    streams=(TRANSACTIONS,),
    auth=_auth,
    feeds=_feeds,
)

__all__ = ["PROVIDER"]
