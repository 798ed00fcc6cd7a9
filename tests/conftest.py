# SPDX-License-Identifier: Apache-2.0
"""
What all tests share: a scrubbed environment, and how hypothesis searches.

By default its examples are the same at every run, so that a red run can be repeated;
``HYPOTHESIS_PROFILE=search`` looks for new ones.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_PREFIXES = ("CONNECTOR_", "MONETAGO_", "STEDI_", "FINPRO_", "FLINKS_")
# Where the downloads of the sandbox are kept is the developer's business.
_KEPT = frozenset({"CONNECTOR_SANDBOX_CACHE"})


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) and name not in _KEPT:
            monkeypatch.delenv(name)
