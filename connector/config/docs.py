# SPDX-License-Identifier: Apache-2.0
"""
Makes ``docs/configuration.md`` from the models; ``python -m connector.docs`` writes it.

The models are the only source; a test fails when the file is not what this makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from connector.config import core, kafka, registry
from connector.config.core import CoreSettings
from connector.config.fields import Setting, settings_of, show
from connector.config.kafka import KafkaVariables
from connector.config.properties import RESERVED
from connector.config.registry import RegistrySettings
from connector.config.sources import prefix_of
from connector.markdown import table
from connector.providers import PROVIDERS
from connector.providers.base import Provider
from connector.providers.settings import SourceSettings
from connector.settings import REQUIRED

FILE: Final = "docs/configuration.md"

_HEAD: Final = """\
<!-- Made by `make docs` from the settings' models: change those. -->
# Configuration

All settings are environment variables. `connector config` shows them as they count, with
their origin, secrets masked; `connector check` tries them.

## Rules

- Each variable `X` can be given as `X_FILE` instead: the path of a file that holds the
  value (at most 1 MiB of UTF-8; the line break at its end does not count). Secrets of
  sources and of the registry are read from their files again when they are refused. To
  set both is an error.
- An empty variable counts as one that is not set.
- Durations are a whole number and a unit: `500ms`, `10s`, `5m`, `1h`, `7d`. Rates are
  `<n>/<duration>`, such as `100/1m`. A start is `earliest` (1970), `now`, `-7d`, or an
  ISO 8601 time, in UTC if it names no zone.
- URLs have no credentials, no query and no fragment. Those of providers begin with
  `https://` unless `…_ALLOW_PRIVATE_ADDRESSES` is set.
- All problems are reported at once, by the name of the variable and without its value; the
  exit code is 2.
- An unknown variable that begins with `CONNECTOR_`, or with the prefix of a configured
  source, is an error. What Kubernetes injects for Services is not (`…_SERVICE_HOST`,
  `…_SERVICE_PORT…`, `…_PORT` with an address, `…_PORT_<n>_TCP…`).
- Variables of a provider that `CONNECTOR_SOURCES` does not name are a warning.
- A command checks only what it uses: `connector tail` does not ask for the credentials of a
  source.

Commands, options and arguments complete in the shell: put the line of yours into its start
file, `eval "$(_CONNECTOR_COMPLETE=bash_source connector)"` (or `zsh_source`), for fish
`_CONNECTOR_COMPLETE=fish_source connector | source`.
"""

_KAFKA: Final = """\
Every other property of librdkafka is a variable too: `CONNECTOR_KAFKA_` and its name in
capitals, `_` for each `.`. `CONNECTOR_KAFKA_SASL_PASSWORD` is `sasl.password`. Properties
of producers go to producers alone, those of consumers to consumers alone; with the prefix
`CONNECTOR_KAFKA_PRODUCER_` any of them goes to producers only and wins. The list is in
librdkafka's `CONFIGURATION.md`; a name or a value that librdkafka refuses is an error
before anything connects.

- Properties of SASL without a `CONNECTOR_KAFKA_SECURITY_PROTOCOL` that uses them are an error.
- Switching the check of certificates off needs `CONNECTOR_KAFKA_INSECURE_SKIP_VERIFY=true`.
- SCRAM, PLAIN and OAUTHBEARER (also `SASL_OAUTHBEARER_METHOD=oidc`) are built in, GSSAPI is not.

The properties below make the transactions exactly once, or belong to the connector otherwise.
"""

_SOURCES: Final = """\
A source is an account of a provider. Its prefix is its name in capitals: `STEDI_` for `stedi`,
`STEDI_ACME_` for `stedi:acme`, whose topics begin with `stedi-acme.`. A list of sources in
which one variable could belong to two is refused.
"""


def make(providers: Mapping[str, Provider] = PROVIDERS) -> str:
    """
    Write the reference of all settings.
    """
    parts = [
        _HEAD,
        "## Core\n",
        _table(settings_of(CoreSettings, core.PREFIX)),
        "## Kafka\n",
        _table(settings_of(KafkaVariables, kafka.PREFIX)),
        _KAFKA,
        table(
            ("librdkafka property", "why"),
            ((f"`{name}`", reason) for name, reason in RESERVED.items()),
        ),
        "## Schema registry\n",
        _table(settings_of(RegistrySettings, registry.PREFIX)),
        "## Sources\n",
        _SOURCES,
    ]
    for name, provider in providers.items():
        parts += [f"### {name}\n", _table(_own_first(provider.settings, prefix_of(name)))]
    return "\n".join(parts)


def _own_first(model: type[BaseModel], prefix: str) -> list[Setting]:
    """
    Put what only this provider has before what every source has.
    """
    declared = settings_of(model, prefix)
    common = SourceSettings.model_fields
    return sorted(declared, key=lambda setting: setting.field in common)


def _table(declared: Iterable[Setting]) -> str:
    return table(
        ("variable", "type", "default", "meaning"),
        (
            (
                f"`{setting.variable}`",
                setting.kind.name + _bounds(setting.info.metadata),
                _default(setting),
                setting.info.description or "",
            )
            for setting in declared
        ),
    )


def _default(setting: Setting) -> str:
    if setting.info.is_required() or setting.variable in REQUIRED.values():
        return "**required**"
    shown = show(setting, setting.info.default)
    return f"`{shown}`" if shown else ""


def _bounds(metadata: Iterable[Any]) -> str:
    low = next((bound.ge for bound in metadata if hasattr(bound, "ge")), None)
    high = next((bound.le for bound in metadata if hasattr(bound, "le")), None)
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low}"
    return f", at most {high}" if low is None else f", {low} to {high}"
