# SPDX-License-Identifier: Apache-2.0
"""
Which URLs and addresses a source may reach.
"""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import RefusedError, SettingsError
from connector.upstream.guards import (
    ForbiddenAddressError,
    GuardedResolver,
    Kind,
    Reach,
    Target,
    kind_of,
)


def parse(url: str, *, private: bool = False) -> Target:
    return Target.parse(url, what="The base URL of source x", allow_private_addresses=private)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", Kind.GLOBAL),
        ("2001:4860:4860::8888", Kind.GLOBAL),
        ("::ffff:8.8.8.8", Kind.GLOBAL),
        ("64:ff9b::808:808", Kind.GLOBAL),
        ("127.0.0.1", Kind.PRIVATE),
        ("::1", Kind.PRIVATE),
        ("10.1.2.3", Kind.PRIVATE),
        ("192.168.0.1", Kind.PRIVATE),
        ("100.64.0.1", Kind.PRIVATE),
        ("fd00::1", Kind.PRIVATE),
        ("::ffff:127.0.0.1", Kind.PRIVATE),
        ("64:ff9b::7f00:1", Kind.PRIVATE),
        ("0.0.0.0", Kind.NEVER),
        ("0.1.2.3", Kind.NEVER),
        ("::", Kind.NEVER),
        ("169.254.169.254", Kind.NEVER),
        ("::ffff:169.254.169.254", Kind.NEVER),
        ("fe80::1%eth0", Kind.NEVER),
        ("fec0::1", Kind.NEVER),
        ("224.0.0.1", Kind.NEVER),
        ("ff0e::1", Kind.NEVER),
        ("240.0.0.1", Kind.NEVER),
        ("255.255.255.255", Kind.NEVER),
        ("2002:7f00:1::", Kind.NEVER),
        ("2001:0:1::1", Kind.NEVER),
        ("::7f00:1", Kind.NEVER),
    ],
)
def test_kind_of(address, expected):
    """
    An address is sorted by where it leads, whatever it is wrapped in.
    """
    assert expected is kind_of(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "https://127.0.0.1/v1",
        "https://10.0.0.1",
        "https://100.64.0.1",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://user:pw@api.example.com/",
        "https://api.example.com/v1?key=hunter2",
        "https://api.example.com/v1#hunter2",
        "ftp://api.example.com/",
        "https:///v1",
        "https://api.example.com:99999/",
        "api.example.com/v1",
        "",
    ],
)
def test_base_urls_that_are_refused(url):
    """
    Neither plain http nor an address that is not public passes, and no error shows the URL.
    """
    with pytest.raises(SettingsError) as caught:
        parse(url)

    assert not any(part in str(caught.value) for part in ("example", "hunter2", "127", "pw@"))


@pytest.mark.parametrize(
    ("url", "reach"),
    [
        ("http://127.0.0.1:8080/v1", Reach.PRIVATE),
        ("http://simulator/v1", Reach.PRIVATE),
        ("https://10.0.0.1/v1", Reach.BOTH),
        ("https://api.example.com/v1", Reach.BOTH),
    ],
)
def test_private_addresses_where_allowed(url, reach):
    """
    With the permission, https reaches private networks too, and http nothing but them.
    """
    assert reach is parse(url, private=True).reach


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/", "https://169.254.169.254/", "http://0x7f.1/", "https://224.0.0.1/"]
)
def test_what_the_permission_does_not_open(url):
    """
    Plain http to the public, metadata services, multicast and odd forms stay refused.
    """
    with pytest.raises(SettingsError):
        parse(url, private=True)


@pytest.mark.parametrize(
    ("base", "path", "fill", "expected"),
    [
        ("https://api.example.com/v1", "/activity", {}, "https://api.example.com/v1/activity"),
        ("https://api.example.com/v1/", "activity", {}, "https://api.example.com/v1/activity"),
        ("https://api.example.com", "/a/b.c", {}, "https://api.example.com/a/b.c"),
        (
            "https://api.example.com/v1",
            "/status/{id}",
            {"id": "a/../b?c#d%2e e"},
            "https://api.example.com/v1/status/a%2F..%2Fb%3Fc%23d%252e%20e",
        ),
    ],
)
def test_join(base, path, fill, expected):
    """
    Paths go below the base path, values into one quoted segment.
    """
    assert expected == str(parse(base).join(path, fill))


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example.com/",
        "//evil.example.com/",
        "/../secret",
        "/a/../../b",
        "/a/./b",
        "/a//b",
        "/a\\b",
        "/%2e%2e/b",
        "/a?b=c",
        "/a#b",
        "/a b",
        "/a\r\nX: y",
        "/a/",
        "",
    ],
)
def test_paths_that_leave_the_base_are_refused(path):
    """
    No path can name another origin, climb, or smuggle a query.
    """
    with pytest.raises(RefusedError):
        parse("https://api.example.com/v1").join(path, {})


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_values_that_climb_are_refused(value):
    """
    A value cannot become an empty segment or dots, and the error shows the template only.
    """
    with pytest.raises(RefusedError, match=r"\{id\}"):
        parse("https://api.example.com/v1").join("/status/{id}", {"id": value})


@given(st.text(), st.text())
def test_no_path_ever_leaves_the_base(path, value):
    """
    Whatever path and value: the URL stays below the base, or nothing is asked.
    """
    target = parse("https://api.example.com:8443/v1")
    try:
        url = target.join(path.replace("{", "") + "/{id}", {"id": value})
    except (RefusedError, UnicodeEncodeError):
        return

    assert ("https", "api.example.com", 8443) == (url.scheme, url.raw_host, url.port)
    assert url.raw_path.startswith("/v1/")
    assert not {"..", "."} & set(url.raw_path.split("/"))
    assert not url.raw_query_string


class Names(AbstractResolver):
    """
    A name server that the test answers for.
    """

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        addresses = self._answers.pop(0)
        return [
            {"hostname": host, "host": each, "port": port, "family": 2, "proto": 0, "flags": 0}
            for each in addresses
        ]

    async def close(self) -> None: ...


async def test_resolver_hands_out_allowed_addresses_only():
    """
    Of a mixed answer only the public address is connected to.
    """
    resolver = GuardedResolver(Names(["10.0.0.1", "8.8.8.8", "::ffff:127.0.0.1"]))
    resolver.admit("api.example.com", Reach.GLOBAL)

    found = await resolver.resolve("api.example.com", 443)

    assert ["8.8.8.8"] == [each["host"] for each in found]


async def test_rebinding_is_caught_at_each_resolution():
    """
    A name that was public at first and leads inside later is refused then.
    """
    resolver = GuardedResolver(Names(["8.8.8.8"], ["169.254.169.254"]))
    resolver.admit("api.example.com", Reach.GLOBAL)
    await resolver.resolve("api.example.com", 443)

    with pytest.raises(ForbiddenAddressError):
        await resolver.resolve("api.example.com", 443)


async def test_plain_http_never_goes_public():
    """
    A name reached by http must not lead out of the private network.
    """
    resolver = GuardedResolver(Names(["8.8.8.8"]))
    resolver.admit("simulator", Reach.PRIVATE)

    with pytest.raises(ForbiddenAddressError, match="plain http"):
        await resolver.resolve("simulator", 80)


@pytest.mark.parametrize("reaches", [(Reach.BOTH, Reach.PRIVATE), (Reach.PRIVATE, Reach.BOTH)])
async def test_the_stricter_rule_wins_for_one_host(reaches):
    """
    A host admitted for https and for http has to satisfy both rules.
    """
    resolver = GuardedResolver(Names(["8.8.8.8", "10.0.0.1"]))
    for reach in reaches:
        resolver.admit("gateway", reach)

    found = await resolver.resolve("gateway", 80)

    assert ["10.0.0.1"] == [each["host"] for each in found]


async def test_hosts_that_no_setting_names_are_not_resolved():
    """
    Without a target there is no resolution at all.
    """
    with pytest.raises(ForbiddenAddressError):
        await GuardedResolver(Names(["8.8.8.8"])).resolve("other.example.com", 443)


async def test_a_name_that_cannot_be_one_is_an_oserror():
    """
    What the C library refuses to look up fails as an unknown name does.
    """

    class Strict(Names):
        async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
            raise UnicodeError("label too long")

    resolver = GuardedResolver(Strict())
    resolver.admit("a" * 64, Reach.GLOBAL)

    with pytest.raises(OSError):
        await resolver.resolve("a" * 64, 443)
