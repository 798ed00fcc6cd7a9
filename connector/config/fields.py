# SPDX-License-Identifier: Apache-2.0
"""
What the fields of a model say about their variables: name, kind, secret or not.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from connector.config.values import Kind, Secret, Start

MASK: Final = "***"
WHOLE: Final = Kind("whole number")


class Setting(NamedTuple):
    """
    What a field of a model says about its variable.
    """

    variable: str
    field: str
    info: FieldInfo
    kind: Kind
    secret: bool


def settings_of(model: type[BaseModel], prefix: str) -> list[Setting]:
    """
    List the variables of a model, in the order of its fields.
    """
    return [
        Setting(prefix + (info.alias or name).upper(), name, info, _kind(info), _has(info, Secret))
        for name, info in model.model_fields.items()
        if not info.exclude
    ]


def show(setting: Setting, value: object) -> str | None:
    """
    Write a value as its variable would hold it; a secret as a mask.
    """
    if value is None:
        return setting.kind.none
    return MASK if setting.secret else setting.kind.write(value)


def _leaves(annotation: Any) -> Iterable[Any]:
    """
    Walk through ``X | None`` and ``Annotated`` down to types, metadata included.
    """
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, Annotated):
        for inner in get_args(annotation):
            yield from _leaves(inner)
    else:
        yield annotation


def _has(info: FieldInfo, wanted: type) -> bool:
    return any(leaf is wanted for leaf in _leaves(info.annotation))


def _write_bool(value: object) -> str:
    return "true" if value else "false"


def _kind(info: FieldInfo) -> Kind:
    leaves = [*info.metadata, *_leaves(info.annotation)]
    for leaf in leaves:
        if isinstance(leaf, Kind):
            return leaf
    for leaf in leaves:
        if get_origin(leaf) is Literal:
            return Kind(", ".join(f"`{choice}`" for choice in get_args(leaf)))
    plain: dict[Any, Kind] = {
        bool: Kind("true or false", _write_bool),
        int: WHOLE,
        Secret: Kind("secret"),
        Start: Kind("start"),
    }
    return next((plain[leaf] for leaf in leaves if leaf in plain), Kind("text"))
