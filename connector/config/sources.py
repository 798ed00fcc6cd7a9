# SPDX-License-Identifier: Apache-2.0
"""
The configured sources: which ones there are, and the variables of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from connector.config.environment import FILE, Environment, did_you_mean
from connector.config.fields import settings_of
from connector.config.values import ErrorPolicy, Secret

if TYPE_CHECKING:
    from connector.providers.base import Provider
    from connector.providers.settings import SourceSettings

VARIABLE: Final = "CONNECTOR_SOURCES"
_ACCOUNT: Final = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """
    One configured account of a provider.

    Attributes:
        name: ``stedi``, or ``stedi:acme`` for a further account.
        provider: The provider that it is an account of.
        topic_prefix: ``CONNECTOR_TOPIC_PREFIX``.
        errors: What becomes of an item that cannot be a record.
        loaded: Its settings; None if the command did not ask for them.
    """

    name: str
    provider: Provider
    topic_prefix: str = ""
    errors: ErrorPolicy = "dead-letter"
    loaded: SourceSettings | None = None

    @property
    def prefix(self) -> str:
        """
        What its variables begin with: ``STEDI_ACME_``.
        """
        return prefix_of(self.name)

    @property
    def topic_base(self) -> str:
        """
        What its topics begin with, behind the topic prefix: ``stedi-acme``.
        """
        return self.name.replace(":", "-")

    @property
    def settings(self) -> Any:
        """
        The settings, as the model that the provider declared (``provider.settings``).
        """
        if self.loaded is None:
            raise RuntimeError("Implementation error: settings of sources were not asked for")
        return self.loaded

    def topic(self, stream: str) -> str:
        """
        Name the topic of a stream, of ``jobs`` or of ``requests``, prefix included.
        """
        return f"{self.topic_prefix}{self.topic_base}.{stream}"

    def secrets(self) -> tuple[str, ...]:
        """
        The values that no log line may show, earlier ones included.
        """
        if self.loaded is None:
            return ()
        values = (getattr(self.loaded, name) for name in type(self.loaded).model_fields)
        return tuple(
            known for value in values if isinstance(value, Secret) for known in value.known()
        )


def prefix_of(source: str) -> str:
    """
    Give what the variables of a source begin with.
    """
    return source.upper().replace(":", "_") + "_"


def parse_names(environment: Environment, providers: Mapping[str, Provider]) -> list[str]:
    """
    Read the list of sources; what is wrong with it is noted, the rest is given back.
    """
    value = environment.read(VARIABLE)
    names = [name.strip() for name in value.text.split(",")] if value else []
    good: list[str] = []
    there_are = f"there are {', '.join(providers)}" if providers else "there are none"
    for position, name in enumerate(names, start=1):
        provider, colon, account = name.partition(":")
        if provider not in providers:
            near = did_you_mean(provider, providers) or f": {there_are}"
            environment.problem(VARIABLE, f"names no provider in entry {position}{near}")
        elif colon and not _ACCOUNT.fullmatch(account):
            environment.problem(
                VARIABLE,
                f"has an account in entry {position} that is not a lower-case letter "
                "followed by such letters or digits",
            )
        elif name in good:
            environment.problem(VARIABLE, f"names the source of entry {position} twice")
        else:
            good.append(name)
    _refuse_ambiguous(environment, good, providers)
    return good


def _refuse_ambiguous(
    environment: Environment, names: Iterable[str], providers: Mapping[str, Provider]
) -> None:
    """
    Refuse two sources if a variable of one begins with the longer prefix of the other.
    """
    for longer in (name for name in names if ":" in name):
        for name in names:
            prefix = prefix_of(name)
            if name == longer or not prefix_of(longer).startswith(prefix):
                continue
            for setting in settings_of(providers[name.partition(":")[0]].settings, prefix):
                if (setting.variable + FILE).startswith(prefix_of(longer)):
                    environment.problem(
                        VARIABLE,
                        f"is ambiguous: {setting.variable} could belong to {name} and to "
                        f"{longer}; give that account another name",
                    )
                    break


def load_source(environment: Environment, name: str, provider: Provider) -> SourceSettings | None:
    """
    Read the variables of one source; None if there were problems.
    """
    return environment.fill(provider.settings, prefix_of(name), source=name)


def report_unknown(
    environment: Environment, names: Sequence[str], providers: Mapping[str, Provider]
) -> list[str]:
    """
    Note the unknown variables of the sources; what belongs to no source is a warning.

    Returns:
        The warnings.
    """
    prefixes = [prefix_of(name) for name in names]
    for name, prefix in zip(names, prefixes, strict=True):
        longer = [other for other in prefixes if other != prefix and other.startswith(prefix)]
        provider, _, account = name.partition(":")
        fields = [setting.variable for setting in settings_of(providers[provider].settings, "_")]
        for unknown in environment.unknown(prefix, besides=longer):
            other = None if account else _account(unknown.removeprefix(prefix), fields)
            text = (
                f"belongs to {provider}:{other}, which {VARIABLE} does not name"
                if other
                else f"is unknown{did_you_mean(unknown, environment.known)}"
            )
            environment.problem(unknown, text)
    warnings = []
    for provider in providers:
        if provider not in names:
            unused = environment.unknown(prefix_of(provider), besides=prefixes)
            if unused:
                warnings.append(
                    f"{', '.join(unused)}: not used, {VARIABLE} does not name {provider}"
                )
    return warnings


def _account(rest: str, fields: Iterable[str]) -> str | None:
    """
    Find the account in ``ACME_API_KEY``, if the rest of it is a field.
    """
    for name in fields:
        account = rest.removesuffix(FILE).removesuffix(name).lower()
        if rest.removesuffix(FILE).endswith(name) and _ACCOUNT.fullmatch(account):
            return account
    return None
