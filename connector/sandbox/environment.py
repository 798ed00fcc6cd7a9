# SPDX-License-Identifier: Apache-2.0
"""
The connector's environment variables for a sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping

from connector.sandbox.sandbox import Sandbox


def connector_environment(
    sandbox: Sandbox, providers: Mapping[str, str], *, name: str
) -> dict[str, str]:
    """
    Give the variables with which the connector uses a sandbox.

    Args:
        sandbox: A running sandbox with a registry.
        providers: The variables of the simulated providers; their starts are added here.
        name: ``CONNECTOR_NAME``.
    """
    sources = sorted({key.partition("_")[0].lower() for key in providers})
    environment = {
        "CONNECTOR_NAME": name,
        "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": sandbox.bootstrap_servers,
        "CONNECTOR_SCHEMA_REGISTRY_URL": sandbox.registry_url,
        "CONNECTOR_ADMIN_PORT": "0",
    }
    if sources:
        environment["CONNECTOR_SOURCES"] = ",".join(sources)
    for source in sources:
        environment[f"{source.upper()}_START"] = "-7d"
        # A person who tries things should not have to wait for a poll.
        environment[f"{source.upper()}_POLL_INTERVAL"] = "1s"
    return {**environment, **providers}
