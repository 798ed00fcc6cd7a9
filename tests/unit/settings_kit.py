# SPDX-License-Identifier: Apache-2.0
"""
Two invented providers, and an environment that is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from connector.errors import SettingsError
from connector.providers.base import Provider
from connector.providers.settings import FeedSettings, Secret, Url
from connector.settings import EVERYTHING, Part, Settings, load_settings


class BankSettings(FeedSettings):
    base_url: Url = Field(default="https://api.example.com/v1", description="The API.")
    token_url: Url | None = Field(default=None, description="Tokens.")
    api_key: Secret = Field(description="The key.")
    page_size: int = Field(default=100, ge=1, le=500, description="Items.")


class ShopSettings(FeedSettings):
    base_url: Url = Field(description="The API.")


def _provider(name: str, settings: Any) -> Provider:
    return Provider(
        name=name, settings=settings, streams=(), auth=lambda _: None, feeds=lambda _: ()
    )


PROVIDERS: Mapping[str, Provider] = {
    "bank": _provider("bank", BankSettings),
    "shop": _provider("shop", ShopSettings),
}

GOOD: Mapping[str, str] = {
    "CONNECTOR_NAME": "ledger",
    "CONNECTOR_SOURCES": "bank",
    "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
    "CONNECTOR_SCHEMA_REGISTRY_URL": "none",
    "BANK_API_KEY": "invented-key",
    "BANK_START": "now",
}


def load(need: Collection[Part] = EVERYTHING, /, **changes: str | None) -> Settings:
    """
    Load the good environment with changes; None takes a variable away.
    """
    merged = {**GOOD, **changes}
    environ = {name: value for name, value in merged.items() if value is not None}
    return load_settings(environ, need=need, providers=PROVIDERS)


def problems(need: Collection[Part] = EVERYTHING, /, **changes: str | None) -> list[str]:
    """
    Give the lines of the error that these changes lead to; none if they are right.
    """
    try:
        load(need, **changes)
    except SettingsError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []
