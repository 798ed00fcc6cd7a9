# SPDX-License-Identifier: Apache-2.0
"""
HTTP as schema registries speak it: one call, and what its status means.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from connector.encoding import json
from connector.errors import CredentialsError, OutsideError, StoppedError

NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422

# Many times our largest schema; what sends more is no registry.
_MAX_BODY: Final = 4 << 20
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class RefusedSchemaError(StoppedError):
    """
    The registry says that it cannot take or compare this schema (409 or 422).

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, *, status: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


def no_registry(why: str) -> OutsideError:
    """
    Make the error for an answer that no registry gives.

    It is to be retried: during a rollout a proxy answers for a registry.
    """
    return OutsideError(
        f"What answers is no schema registry: {why}. CONNECTOR_SCHEMA_REGISTRY_URL has to be "
        "the base of its API (Apicurio: with /apis/ccompat/v7).",
        cause="registry_answer",
    )


class RegistryHttp:
    """
    Calls one registry; credentials go to its base URL only, redirects nowhere.

    Args:
        url: The base URL.
        username: Gives the name for basic authentication, at every call.
        password: Gives its password, at every call.
        ca: Certificates in PEM form to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        username: Callable[[], str] | None,
        password: Callable[[], str] | None,
        ca: str | None,
    ) -> None:
        self._url = url.rstrip("/")
        self._username = username
        self._password = password
        self._tls = ssl.create_default_context(cadata=ca) if ca else ssl.create_default_context()
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """
        Close the connections.
        """
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        """
        Call once.

        Args:
            method: The HTTP method.
            path: Behind the base URL, encoded.
            body: To be sent as JSON.

        Returns:
            The status, 2xx or 404, and the body; a 404 is one that a registry gave.
        """
        headers = {"Accept": _MEDIA_TYPE}
        if body is not None:
            headers["Content-Type"] = _MEDIA_TYPE
        if self._username is not None and self._password is not None:
            login = aiohttp.encode_basic_auth(self._username(), self._password())
            headers["Authorization"] = login
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.request(
                method,
                URL(self._url + path, encoded=True),
                data=None if body is None else json.dumps(body),
                headers=headers,
                allow_redirects=False,
                ssl=self._tls,
            ) as response:
                data = await _read(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The text of the error may hold the URL, and that a password.
            raise OutsideError(
                f"The schema registry cannot be reached ({type(error).__name__}): "
                "look at CONNECTOR_SCHEMA_REGISTRY_URL.",
                cause="registry_unreachable",
            ) from None
        return _judge(status, data)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > _MAX_BODY:
            raise no_registry("its answer is too large")
    return bytes(data)


def _judge(status: int, data: bytes) -> tuple[int, Any]:
    if status in (401, 403):
        raise CredentialsError(
            f"The schema registry refuses us ({status}): look at "
            "CONNECTOR_SCHEMA_REGISTRY_USERNAME and CONNECTOR_SCHEMA_REGISTRY_PASSWORD.",
            cause="registry_credentials",
        )
    if status in (408, 429) or status >= 500:
        raise OutsideError(f"The schema registry answers {status}.", cause="registry_failing")
    try:
        body = json.loads(data) if data else None
    except json.JsonError:
        raise no_registry("its answer is no JSON") from None
    if status in (_CONFLICT, _UNPROCESSABLE):
        raise RefusedSchemaError(
            f"The schema registry refuses the schema ({status}).",
            status=status,
            remedy="Run `connector schemas check` to see why.",
        )
    if status != NOT_FOUND and not 200 <= status < 300:
        raise no_registry(f"it answers {status}")
    # A wrong path is a 404 too, but without one of the codes that name what is missing.
    code = body.get("error_code") if isinstance(body, dict) else None
    if status == NOT_FOUND and not (type(code) is int and code // 100 == NOT_FOUND):
        raise no_registry("it answers 404")
    return status, body
