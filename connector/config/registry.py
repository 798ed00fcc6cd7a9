# SPDX-License-Identifier: Apache-2.0
"""
The settings of the schema registry: ``CONNECTOR_SCHEMA_REGISTRY_…``.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from connector.config.values import Kind, Secret, Url, read_file

PREFIX: Final = "CONNECTOR_SCHEMA_REGISTRY_"


def _none(value: object) -> object:
    return None if value == "none" else value


def _read_authorities(text: str) -> str:
    """
    Take certificates as PEM, or the path of a file that holds them.
    """
    if "-----BEGIN" not in text:
        text = read_file(Path(text))
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds no certificates in PEM form") from None
    return text


class RegistrySettings(BaseModel):
    """
    Where schemas are kept, and how it is reached.

    Attributes:
        url: None if records carry single-object encoding instead of a registry's ids.
        ca: Certificates in PEM form that are trusted instead of the system's, or None.
        register_schemas: Register what is missing; otherwise only look it up.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_by_name=True
    )

    url: Annotated[Url | None, BeforeValidator(_none), Kind("URL or `none`", none="none")] = Field(
        description="The registry's API as Confluent defined it (Apicurio: with "
        "`/apis/ccompat/v7`). `none`: no registry, records carry single-object encoding."
    )
    username: Secret | None = Field(default=None, description="For basic authentication.")
    password: Secret | None = Field(default=None, description="For basic authentication.")
    ca: Annotated[str, AfterValidator(_read_authorities), Kind("PEM or path", lambda _: "PEM")] | (
        None
    ) = Field(
        default=None,
        description="Certificates to trust instead of the system's: PEM text, or the path of "
        "a file with it.",
    )
    register_schemas: bool = Field(
        default=True,
        alias="register",
        description="Register missing schemas. If false they are only looked up, and a missing "
        "one is an error that names the command to run.",
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("needs both USERNAME and PASSWORD, or neither")
        return self
