# SPDX-License-Identifier: Apache-2.0
"""
A client of the schema registry: the API that Confluent defined, and Apicurio speaks.

Source: Confluent Schema Registry API reference v7 (its error codes are the ``error_code``
of a body), and Apicurio 2.6 ``/apis/ccompat/v7``. Never called inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

from connector.encoding import json
from connector.encoding.registry_http import NOT_FOUND, RegistryHttp, no_registry
from connector.errors import RetryError

_SUBJECT_MISSING: Final = 40401


class Version(NamedTuple):
    """
    One version of a subject.

    Attributes:
        version: Its number within the subject.
        schema_id: Its id in the registry.
        text: The schema as JSON.
    """

    version: int
    schema_id: int
    text: str


class Verdict(NamedTuple):
    """
    Whether a schema may follow the versions of a subject.

    Attributes:
        compatible: The registry would take it.
        messages: Why not, in the registry's words.
    """

    compatible: bool
    messages: tuple[str, ...]


class Registry:
    """
    Calls one registry. Every method raises what is listed here, and says nothing of values.

    Raises:
        OutsideError: Not reachable, not answering in time, failing (5xx, 429), or what
            answers is no registry.
        CredentialsError: 401 or 403.

    Args:
        url: The base URL; Apicurio's includes ``/apis/ccompat/v7``.
        username: Gives the name for basic authentication; read again at every call, so
            that a rotated secret is found.
        password: Gives its password.
        ca: Certificates in PEM form to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        username: Callable[[], str] | None = None,
        password: Callable[[], str] | None = None,
        ca: str | None = None,
    ) -> None:
        self._http = RegistryHttp(url, username=username, password=password, ca=ca)

    async def __aenter__(self) -> Self:
        """
        Nothing is opened before the first call.
        """
        return self

    async def __aexit__(self, *_: object) -> None:
        """
        Close the connections.
        """
        await self.aclose()

    async def aclose(self) -> None:
        """
        Close the connections.
        """
        await self._http.aclose()

    async def subjects(self) -> tuple[str, ...]:
        """
        List the subjects; the cheapest question that proves the registry is there.
        """
        return tuple(await self._expect("GET", "/subjects", list))

    async def versions(self, subject: str) -> tuple[int, ...]:
        """
        List the versions of a subject, oldest first; none if there is no such subject.
        """
        status, body = await self._http.call("GET", f"/subjects/{_quote(subject)}/versions")
        if status == NOT_FOUND:
            return ()
        return tuple(sorted(_int(each) for each in _checked(status, body, list)))

    async def version(self, subject: str, version: int | str) -> Version | None:
        """
        Get one version (a number or ``latest``), or None.
        """
        status, body = await self._http.call(
            "GET", f"/subjects/{_quote(subject)}/versions/{version}"
        )
        if status == NOT_FOUND:
            return None
        found = _checked(status, body, dict)
        return Version(_int(found.get("version")), _int(found.get("id")), str(found.get("schema")))

    async def schema(self, schema_id: int) -> str | None:
        """
        Get the text of a schema by its id, or None.
        """
        status, body = await self._http.call("GET", f"/schemas/ids/{schema_id}")
        if status == NOT_FOUND:
            return None
        return str(_checked(status, body, dict).get("schema"))

    async def lookup(self, subject: str, text: str) -> Version | None:
        """
        Find a schema among the versions of a subject, or None.

        White space and the order of keys make no difference: the registry is asked to
        normalise, and where it does not (notes 25), its versions are compared here.
        """
        path = f"/subjects/{_quote(subject)}?normalize=true"
        status, body = await self._http.call("POST", path, {"schema": text})
        if status == NOT_FOUND:
            if isinstance(body, dict) and body.get("error_code") == _SUBJECT_MISSING:
                return None
            return await self._search(subject, text)
        found = _checked(status, body, dict)
        return Version(_int(found.get("version")), _int(found.get("id")), text)

    async def _search(self, subject: str, text: str) -> Version | None:
        wanted = json.canonical(json.loads(text.encode()))
        for number in reversed(await self.versions(subject)):
            found = await self.version(subject, number)
            if found is not None and _canonical(found.text) == wanted:
                return found
        return None

    async def register(self, subject: str, text: str) -> int:
        """
        Register a schema, if it is not there yet, and give its id.

        Raises:
            RefusedSchemaError: It is not compatible, is invalid, or (Apicurio) somebody
                else registers this subject at the same moment: 409 says both.
        """
        path = f"/subjects/{_quote(subject)}/versions?normalize=true"
        return _int((await self._expect("POST", path, dict, {"schema": text})).get("id"))

    async def check(self, subject: str, text: str) -> Verdict:
        """
        Ask whether a schema may follow, by the rule that the subject has.
        """
        path = f"/compatibility/subjects/{_quote(subject)}/versions?verbose=true"
        status, body = await self._http.call("POST", path, {"schema": text})
        if status == NOT_FOUND:
            return Verdict(compatible=True, messages=())
        found = _checked(status, body, dict)
        messages = found.get("messages") or ()
        return Verdict(found.get("is_compatible") is True, tuple(str(each) for each in messages))

    async def compatibility(self, subject: str) -> str | None:
        """
        Get the subject's own rule, such as ``FULL_TRANSITIVE``, or None.
        """
        status, body = await self._http.call("GET", f"/config/{_quote(subject)}")
        if status == NOT_FOUND:
            return None
        level = _checked(status, body, dict).get("compatibilityLevel")
        return None if level in (None, "NONE") else str(level)

    async def set_compatibility(self, subject: str, level: str) -> None:
        """
        Set the subject's own rule.
        """
        body = {"compatibility": level}
        await self._expect("PUT", f"/config/{_quote(subject)}", dict, body)

    async def _expect(
        self, method: str, path: str, kind: type[Any], body: Mapping[str, Any] | None = None
    ) -> Any:
        return _checked(*await self._http.call(method, path, body), kind)


def _checked(status: int, body: Any, kind: type[Any]) -> Any:
    if status == NOT_FOUND:
        raise RetryError("What the schema registry had a moment ago is gone.", cause="registry_404")
    if not isinstance(body, kind):
        raise no_registry("its answer has another form")
    return body


def _int(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise no_registry("its answer has another form")
    return value


def _canonical(text: str) -> bytes:
    try:
        return json.canonical(json.loads(text.encode()))
    except json.JsonError:
        raise no_registry("it holds a schema that is no JSON") from None


def _quote(subject: str) -> str:
    return quote(subject, safe="")
