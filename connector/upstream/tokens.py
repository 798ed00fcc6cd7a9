# SPDX-License-Identifier: Apache-2.0
"""
Bearer tokens as values, and what a credential has to look like to be sent at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from connector.encoding.json import JsonError, loads
from connector.errors import CredentialsError, RetryError
from connector.upstream.timing import Timing

_log = structlog.get_logger()

# What a header value may hold: visible Latin-1, and spaces inside (RFC 9110, 5.5).
_HEADER_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")

# A token is renewed this long before it ends: a tenth of its life, but at most a minute,
# stretched by up to a half so that workers do not come together.
_MARGIN_PART = 0.1
_MARGIN_SECONDS = 60.0
_MARGIN_JITTER = 1.5

# A missing or absurd expires_in: short enough to be harmless, long enough not to be billed.
_ASSUMED_LIFE = 300.0
# A longer life is not believed to the end; once a day costs nothing.
_LONGEST_LIFE = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """
    A token and its times, in seconds of the monotonic clock.

    Attributes:
        headers: What it adds to a request.
        made_at: When it was asked for.
        renew_at: From when on a newer one is fetched.
        ends_at: From when on it is of no use.
        is_replacement: It was fetched because its predecessor was refused.
    """

    headers: Mapping[str, str] = field(repr=False)
    made_at: float
    renew_at: float
    ends_at: float
    is_replacement: bool


def make_token(
    body: bytes, *, source: str, made_at: float, is_replacement: bool, timing: Timing
) -> Token:
    """
    Read the answer of a token server (seed 001; RFC 6749, 5.1).

    Args:
        body: JSON with ``access_token``, ``expires_in`` and ``token_type``.
        source: The source's name, for errors.
        made_at: When the request began, on the monotonic clock: the life of the token
            is counted from there, which errs on the early side.
        is_replacement: See Token.
        timing: The dice.

    Raises:
        RetryError: It holds no bearer token that could be sent.
    """
    try:
        answer = loads(body)
    except JsonError:
        answer = None
    value = answer.get("access_token") if isinstance(answer, dict) else None
    kind = answer.get("token_type", "Bearer") if isinstance(answer, dict) else None
    if (
        not isinstance(answer, dict)
        or not isinstance(value, str)
        or not _HEADER_VALUE.fullmatch(value)
        or not isinstance(kind, str)
        or kind.lower() != "bearer"
    ):
        raise RetryError(
            f"{source}: token request: the answer holds no bearer token.", cause="bad_token"
        )
    life = _seconds(answer.get("expires_in"))
    if life is None:
        _log.warning("token_life_assumed", source=source, assumed_seconds=_ASSUMED_LIFE)
        life = _ASSUMED_LIFE
    life = min(life, _LONGEST_LIFE)
    margin = min(_MARGIN_SECONDS, life * _MARGIN_PART) * timing.uniform(1.0, _MARGIN_JITTER)
    return Token(
        headers={"Authorization": f"Bearer {value}"},
        made_at=made_at,
        renew_at=made_at + life - margin,
        ends_at=made_at + life,
        is_replacement=is_replacement,
    )


def _seconds(value: Any) -> float | None:
    """
    Read expires_in, which some servers send as text.
    """
    try:
        seconds = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def sendable(value: str, what: str) -> str:
    """
    Check that a text can be a header's value.

    Raises:
        CredentialsError: It cannot; the text never shows it.
    """
    if not _HEADER_VALUE.fullmatch(value):
        raise CredentialsError(
            f"{what} is empty, or holds a line break or another character that no header may hold.",
            cause="credentials",
        )
    return value
