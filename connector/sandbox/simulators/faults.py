# SPDX-License-Identifier: Apache-2.0
"""
What goes wrong, when, and how often: the faults that are armed for one provider.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from connector.sandbox.simulators.times import http_date

# The request is not processed: these answer in place of the provider.
Instead = Literal[
    "error_envelope",
    "gzip_bomb",
    "not_json",
    "oversized",
    "rate_limited",
    "redirect",
    "reset",
    "status",
]
# The request is processed: these spoil the answer on its way.
Spoiled = Literal[
    "cut_body",
    "cut_json",
    "delay",
    "gzip",
    "headers",
    "lost_reply",
    "missing_id",
    "slow_body",
    "without_items",
    "wrong_encoding",
    "wrong_types",
]
RetryAfter = Literal[
    "seconds", "date", "past_date", "fraction", "negative", "absurd", "broken", "missing"
]


class Fault(BaseModel):
    """
    One thing that goes wrong. What a kind does not need, it ignores.

    Attributes:
        kind: What happens.
        path: The exact path it waits for; None is the path of the data, so that a
            request for a token does not use it up.
        times: How many requests it hits; None is for ever.
        skip: How many matching requests it lets pass first.
        probability: The chance, from 0 to 1, that it hits a request it could hit.
        delay: Seconds to wait before anything else, with every kind.
        status: The status of ``status``, ``rate_limited`` has 429, ``redirect`` 3xx.
        retry_after: The form of the ``Retry-After`` header, for ``status`` and ``rate_limited``.
        seconds: What ``Retry-After`` and the reset say; how long ``slow_body`` takes.
        reset: Adds ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``, in this unit.
        headers: Headers laid over the answer's own, such as a wrong ``Date``.
        body: The text of ``status``, ``not_json`` and ``error_envelope`` in place of their own.
        size: Decoded bytes of ``oversized`` and ``gzip_bomb``.
        location: Where ``redirect`` points.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Instead | Spoiled
    path: str | None = None
    times: int | None = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    delay: float = Field(default=0.0, ge=0)
    status: int = Field(default=503, ge=200, le=599)
    retry_after: RetryAfter = "missing"
    seconds: float = Field(default=1.0, ge=0)
    reset: Literal["seconds", "milliseconds"] | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    size: int = Field(default=64 * 1024 * 1024, ge=1)
    location: str = "https://elsewhere.example.com/"

    def limit_headers(self, now: int) -> dict[str, str]:
        """
        Give the headers that ask a client to wait.

        Args:
            now: The server's clock, milliseconds since 1970.
        """
        wait = int(self.seconds * 1000)
        forms: dict[RetryAfter, str | None] = {
            "seconds": str(-(-wait // 1000)),
            # A date has whole seconds: one more, so that it never asks for too little.
            "date": http_date(now + wait + 1000),
            "past_date": http_date(now - 3_600_000),
            "fraction": f"{self.seconds:.3f}",
            "negative": "-5",
            "absurd": "31536000000",
            "broken": "in a while",
            "missing": None,
        }
        headers: dict[str, str] = {}
        if (text := forms[self.retry_after]) is not None:
            headers["Retry-After"] = text
        if self.reset is not None:
            at = now + wait
            headers["X-RateLimit-Limit"] = "1000"
            headers["X-RateLimit-Remaining"] = "0"
            headers["X-RateLimit-Reset"] = str(
                at if self.reset == "milliseconds" else -(-at // 1000)
            )
        return headers


class Faults:
    """
    The armed faults of one provider, in order; each request meets at most one.

    Args:
        data_path: The path that faults without one of their own wait for.
        random: Where probabilities take their chance from.
    """

    def __init__(self, data_path: str, random: Random) -> None:
        self._data_path = data_path
        self._random = random
        self._armed: list[Fault] = []
        self._lock = threading.Lock()
        self.hits: Counter[str] = Counter()

    @property
    def armed(self) -> list[Fault]:
        """
        List what is still to come.
        """
        return list(self._armed)

    def add(self, *faults: Fault) -> None:
        """
        Arm faults behind those that are there.
        """
        with self._lock:
            self._armed.extend(faults)

    def clear(self) -> None:
        """
        Disarm all.
        """
        with self._lock:
            self._armed.clear()

    def take(self, path: str) -> Fault | None:
        """
        Tell what goes wrong with a request, if anything, and count it.
        """
        if not self._armed:
            return None
        with self._lock:
            for index, fault in enumerate(self._armed):
                if path != (fault.path or self._data_path):
                    continue
                if fault.skip:
                    self._armed[index] = fault.model_copy(update={"skip": fault.skip - 1})
                    continue
                if fault.probability < 1 and self._random.random() >= fault.probability:
                    continue
                self._use(index, fault)
                return fault
        return None

    def _use(self, index: int, fault: Fault) -> None:
        """
        Count one hit, and forget the fault with its last.
        """
        self.hits[fault.kind] += 1
        if fault.times == 1:
            del self._armed[index]
        elif fault.times is not None:
            self._armed[index] = fault.model_copy(update={"times": fault.times - 1})


def parse_faults(value: object) -> list[Fault]:
    """
    Read one fault or a list of them from JSON.

    Raises:
        pydantic.ValidationError: Something in it is no fault.
    """
    many: Iterable[object] = value if isinstance(value, list) else [value]
    return [Fault.model_validate(one) for one in many]
