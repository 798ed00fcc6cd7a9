# SPDX-License-Identifier: Apache-2.0
"""
Which URLs and addresses a source may reach (invariant 8).

Two walls. A Target is an origin (scheme, host, port) with a base path, made from a
setting; requests can only be joined below it, so no link and no path of a provider leads
elsewhere. And the resolver checks each address where it is handed to the socket, which
leaves nothing between check and use for a DNS server to change.

============  =======================  ==========================================
scheme        allow_private_addresses  addresses
============  =======================  ==========================================
https         no                       global ones only
https         yes                      global and private ones
http          no                       refused
http          yes                      private ones only: credentials in plain text
                                       never leave the private network
============  =======================  ==========================================

Never reached: multicast, reserved, unspecified and link-local addresses (the metadata
services of clouds live there), 6to4 and Teredo.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from connector.errors import RefusedError, SettingsError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = (
    ipaddress.IPv4Network("0.0.0.0/8"),  # "this network": leads to the computer itself
    ipaddress.IPv6Network("fec0::/10"),  # site-local, withdrawn
    ipaddress.IPv6Network("2002::/16"),  # 6to4: IPv4 inside, through a stranger's relay
    ipaddress.IPv6Network("2001::/32"),  # Teredo: likewise
)

# One segment of a path: a name, or {placeholders} that are filled in quoted. No percent
# sign, so that nothing can hide behind an escape.
_SEGMENT = re.compile(r"[A-Za-z0-9._~:@{}-]+")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_DOTS = ("", ".", "..")


class Kind(Enum):
    """
    What sort of address it is, once every wrapping is taken off.
    """

    GLOBAL = "global"
    PRIVATE = "private"
    NEVER = "never"


class Reach(Enum):
    """
    Which kinds of address a host may resolve to; see the table above.
    """

    GLOBAL = frozenset({Kind.GLOBAL})
    PRIVATE = frozenset({Kind.PRIVATE})
    BOTH = frozenset({Kind.GLOBAL, Kind.PRIVATE})


class ForbiddenAddressError(OSError):
    """
    A name resolves to nothing but addresses that this source may not reach.

    An OSError, because that is what aiohttp expects of a resolver.
    """


def kind_of(address: str) -> Kind:
    """
    Sort an address by where it really leads: IPv4 inside IPv6 counts as that IPv4.

    Raises:
        ValueError: It is no IPv4 or IPv6 address in its canonical form.
    """
    ip = _unwrapped(address)
    if ip.is_loopback:  # inside a reserved range of IPv6, so it is asked first
        return Kind.PRIVATE
    if ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local:
        return Kind.NEVER
    if any(ip in network for network in _NEVER if network.version == ip.version):
        return Kind.NEVER
    return Kind.GLOBAL if ip.is_global else Kind.PRIVATE


def _unwrapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


@dataclass(frozen=True, slots=True)
class Target:
    """
    An origin and a base path that requests stay below.

    Attributes:
        base: Scheme, host, port and base path.
        reach: Where its host may resolve to.
    """

    base: URL
    reach: Reach

    @classmethod
    def parse(cls, url: str, *, what: str, allow_private_addresses: bool) -> Target:
        """
        Check the URL of a setting.

        Args:
            url: ``https://host[:port][/path]``.
            what: What it is, for errors: ``the base URL of source stedi``.
            allow_private_addresses: See the table of this module.

        Raises:
            SettingsError: It is not such a URL, or may not be reached. The text never
                holds the URL.
        """
        try:
            base = URL(url)
            host, port = base.raw_host, base.port
        except ValueError:
            raise SettingsError(f"{what} is not a URL.") from None
        if base.scheme not in ("http", "https") or not host or not port:
            raise SettingsError(f"{what} is not an http or https URL with a host.")
        if base.raw_user is not None or base.raw_password is not None:
            raise SettingsError(
                f"{what} holds credentials.", remedy="Give them in their own settings."
            )
        if base.raw_query_string or base.raw_fragment:
            raise SettingsError(f"{what} must end with its path: no query, no fragment.")
        reach = _reach(base.scheme, what, allow_private_addresses=allow_private_addresses)
        _check_literal(host, reach, what)
        return cls(base, reach)

    def join(self, path: str, fill: Mapping[str, str]) -> URL:
        """
        Put a path below the base.

        Args:
            path: ``/activity``, or a template: ``/status/{request_identification}``.
            fill: The values of its placeholders; each becomes one quoted segment part.

        Raises:
            RefusedError: The path, or a value in it, would lead out of the base. The
                text holds the template only.
        """
        segments = path.removeprefix("/").split("/")
        if not all(_SEGMENT.fullmatch(each) and each not in _DOTS for each in segments):
            raise RefusedError(
                "A path leaves the base URL of its source, so it is not asked.",
                remedy="Paths are plain names below the base URL.",
            )
        filled = [_PLACEHOLDER.sub(lambda m: quote(fill[m[1]], safe=""), each) for each in segments]
        if any(each in _DOTS for each in filled):
            raise RefusedError(f"A value for {path} is empty or only dots, so it is not asked.")
        full = "/".join((self.base.raw_path.rstrip("/"), *filled))
        return self.base.with_path(full, encoded=True)


def _reach(scheme: str, what: str, *, allow_private_addresses: bool) -> Reach:
    if scheme == "https":
        return Reach.BOTH if allow_private_addresses else Reach.GLOBAL
    if allow_private_addresses:
        return Reach.PRIVATE
    raise SettingsError(
        f"{what} is not https.",
        remedy="Plain http is for private networks, with …_ALLOW_PRIVATE_ADDRESSES=true.",
    )


def _check_literal(host: str, reach: Reach, what: str) -> None:
    """
    Judge hosts that are addresses: aiohttp hands these to the socket unresolved.
    """
    address = host.removesuffix(".")
    try:
        kind = kind_of(address)
    except ValueError:
        try:
            socket.inet_aton(address)
        except OSError:
            return  # a name: the resolver judges it
        # 0x7f.1, 127.1, 2130706433: the C library reads these as addresses.
        raise SettingsError(
            f"{what} names an address in an odd form.",
            remedy="Write it as four decimal numbers.",
        ) from None
    if kind not in reach.value:
        raise SettingsError(
            f"{what} names {describe(reach)}.",
            remedy="…_ALLOW_PRIVATE_ADDRESSES=true lets a source reach private networks.",
        )


def describe(reach: Reach) -> str:
    """
    Say what was wrong with an address that is outside a reach.
    """
    match reach:
        case Reach.GLOBAL:
            return "an address that is not public"
        case Reach.PRIVATE:
            return "a public address over plain http"
        case Reach.BOTH:
            return "an address that is never reached (multicast, link-local, reserved)"


class GuardedResolver(AbstractResolver):
    """
    Resolves only hosts it was told of, and hands out only addresses they may have.

    Args:
        inner: Does the resolving.
    """

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner
        self._reach: dict[str, Reach] = {}

    def admit(self, host: str, reach: Reach) -> None:
        """
        Let a host be resolved. Told of twice, it has to satisfy both.
        """
        known = self._reach.get(host, reach)
        self._reach[host] = reach if known is reach else Reach(known.value & reach.value)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Resolve a host, leaving out what it may not reach.

        Raises:
            ForbiddenAddressError: Nothing is left, or the host was never admitted.
            OSError: It does not resolve.
        """
        reach = self._reach.get(host)
        if reach is None:
            raise ForbiddenAddressError("a host that no setting names")
        try:
            found = await self._inner.resolve(host, port, family)
        except UnicodeError:  # a label that is too long for a name
            raise OSError("not a name") from None
        allowed = [each for each in found if kind_of(each["host"]) in reach.value]
        if not allowed:
            raise ForbiddenAddressError(describe(reach))
        return allowed

    async def close(self) -> None:
        """
        Close the inner resolver.
        """
        await self._inner.close()
