# SPDX-License-Identifier: Apache-2.0
"""
The upstream APIs. One line here registers a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.providers import monetago, stedi
from connector.providers.base import Provider

PROVIDERS: Final[Mapping[str, Provider]] = {
    provider.name: provider for provider in (monetago.PROVIDER, stedi.PROVIDER)
}
