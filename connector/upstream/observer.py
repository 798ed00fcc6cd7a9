# SPDX-License-Identifier: Apache-2.0
"""
What the HTTP side lets others measure; labels are never a URL, an id or a text.
"""

from __future__ import annotations

from typing import Protocol


class HttpObserver(Protocol):
    """
    Hears what happens on the wire. Its methods must be quick and must not raise.
    """

    def on_response(self, source: str, status_class: str, seconds: float, wire_bytes: int) -> None:
        """
        Hear of an answer, token requests included.

        Args:
            source: The source's name.
            status_class: ``2xx``, ``3xx``, ``4xx``, ``429`` or ``5xx``; 429 has a class
                of its own, because only it is no mistake.
            seconds: From the request's start to the end of the body.
            wire_bytes: Bytes of the body as they came, before decoding.
        """
        ...

    def on_failure(self, source: str, cause: str, seconds: float) -> None:
        """
        Hear of an exchange without a usable answer, by the cause of its RetryError.
        """
        ...

    def on_rate_limited(self, source: str, seconds: float) -> None:
        """
        Hear that the provider asked for a pause (after the cap of 1 h).
        """
        ...

    def on_ignored_header(self, source: str, header: str) -> None:
        """
        Hear of a header that was there and made no sense, by its name.
        """
        ...

    def on_skew(self, source: str, seconds: float) -> None:
        """
        Hear of the server's clock less ours, whenever the estimate changes.
        """
        ...


class SilentObserver:
    """
    Measures nothing; the default.
    """

    def on_response(self, source: str, status_class: str, seconds: float, wire_bytes: int) -> None:
        """
        Ignore it.
        """

    def on_failure(self, source: str, cause: str, seconds: float) -> None:
        """
        Ignore it.
        """

    def on_rate_limited(self, source: str, seconds: float) -> None:
        """
        Ignore it.
        """

    def on_ignored_header(self, source: str, header: str) -> None:
        """
        Ignore it.
        """

    def on_skew(self, source: str, seconds: float) -> None:
        """
        Ignore it.
        """


SILENT: HttpObserver = SilentObserver()
