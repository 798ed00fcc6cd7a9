# SPDX-License-Identifier: Apache-2.0
"""
From one item of a provider to Avro bytes, keeping whatever does not fit.

A schema is compiled once into nested writers; each item then takes one pass. A value that
does not fit becomes the null of its nearest nullable field, and its JSON text is kept in
``additional_properties`` under its JSON Pointer (RFC 6901), next to the fields that the
schema does not know. What a pointer cannot say in UTF-8, a lone surrogate in the name of a
field, is written ``~2`` and four hexadecimal digits; RFC 6901 uses only ``~0`` and ``~1``.

The bytes are written here and not by fastavro, whose writer costs four times as much on
nullable fields and needs a second copy of each item (docs/decisions/0003-avro.md). The
tests compare both, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from connector.encoding import json
from connector.encoding.primitives import MisfitError, boolean, decimal, long, text, time, varint
from connector.errors import RejectedRecordError

NOT_AN_OBJECT: Final = "not_an_object"
MISSING_KEY: Final = "missing_key"
EXTRAS: Final = "additional_properties"

_NULL: Final = b"\x00"
_FIRST: Final = b"\x02"  # index of the second branch of ["null", T], as a varint
_END: Final = b"\x00"  # of an array or a map
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# The length of nearly all texts, and behind the index of the branch.
_LENGTHS: Final = tuple(varint(size) for size in range(1024))
_FIRST_LENGTHS: Final = tuple(_FIRST + length for length in _LENGTHS)

_PLAIN: Final = {"string": text, "boolean": boolean, "long": long}


class Extra(NamedTuple):
    """
    What one place of an item holds beyond the schema.

    Attributes:
        pointer: JSON Pointer, relative to the writer that gives it.
        text: The raw value, as JSON.
        field: The field of the schema that it did not fit, such as
            ``.artifacts[].sizeBytes``; None if the schema has no such field.
    """

    pointer: str
    text: bytes
    field: str | None


# Appends the bytes of one value; gives what it could not hold, or None.
Writer: TypeAlias = Callable[[Any, list[bytes]], "list[Extra] | None"]


# A field's name, whether it is nullable, what stands before an ASCII text of each length
# (empty if it is no text), and its writer. No NamedTuple: unpacking one takes twice as long,
# and this happens for every value.
_Field: TypeAlias = tuple[str, bool, tuple[bytes, ...], Writer]


class MissingKeyError(MisfitError):
    """
    A field that cannot be null is missing or has another type.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def compile_writer(
    schema: Mapping[str, Any], named: Mapping[str, Any]
) -> Callable[[Any, list[bytes]], list[Extra]]:
    """
    Compile the schema of a stream.

    Args:
        schema: A record as fastavro.parse_schema gives it, whose last field is the map
            ``additional_properties``.
        named: The named types of that schema, by full name.

    Returns:
        A function that appends the encoded item to a list of bytes and gives the extras
        that it wrote. It raises RejectedRecordError for an item that is no object
        (``not_an_object``) or lacks a field that cannot be null (``missing_key``).

    Raises:
        ValueError: Implementation error: the schema has something that providers' items
            are never given, such as a float or a union of several types.
    """
    *fields, last = schema["fields"]
    if last["name"] != EXTRAS or last["type"] != {"type": "map", "values": "string"}:
        raise ValueError(f"Implementation error: {EXTRAS} is not the last field.")
    write_record = _record({**schema, "fields": fields}, named)

    def write(raw: Any, out: list[bytes]) -> list[Extra]:
        if type(raw) is not dict:
            raise RejectedRecordError(NOT_AN_OBJECT)
        try:
            extras = write_record(raw, out)
        except MissingKeyError as error:
            raise RejectedRecordError(MISSING_KEY, error.name) from None
        if not extras:
            out.append(_END)
            return []
        out.append(varint(len(extras)))
        for extra in extras:
            out.append(text(extra.pointer))
            out.append(varint(len(extra.text)))
            out.append(extra.text)
        out.append(_END)
        return extras

    return write


def _record(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Writer:
    fields = tuple(_field(each, named) for each in schema["fields"])
    known = frozenset(field[0] for field in fields)

    def write(raw: Any, out: list[bytes]) -> list[Extra] | None:
        if type(raw) is not dict:
            raise MisfitError
        extras = None if known.issuperset(raw) else _unknown(raw, known)
        append = out.append
        get = raw.get
        for name, nullable, lengths, write_value in fields:
            value = get(name)
            if type(value) is str and value.isascii() and (size := len(value)) < len(lengths):
                # The commonest case, without a call.
                append(lengths[size])
                append(value.encode())
                continue
            if value is None and nullable:
                append(_NULL)
                continue
            start = len(out)
            if nullable:
                append(_FIRST)
            try:
                inner = write_value(value, out)
            except MisfitError:
                if not nullable:
                    raise MissingKeyError(name) from None
                del out[start:]
                append(_NULL)
                extras = [*(extras or ()), _misfit(name, value)]
                continue
            if inner:
                extras = [*(extras or ()), *_below(_pointer(name), f".{name}", inner)]
        return extras

    return write


def _field(field: Mapping[str, Any], named: Mapping[str, Any]) -> _Field:
    kind = field["type"]
    nullable = isinstance(kind, list)
    if nullable:
        if len(kind) != 2 or kind[0] != "null" or field.get("default", "") is not None:
            raise ValueError(f"Implementation error: {field['name']} is no nullable field.")
        kind = kind[1]
    lengths = (_FIRST_LENGTHS if nullable else _LENGTHS) if kind == "string" else ()
    return field["name"], nullable, lengths, _value(kind, named)


def _value(kind: Any, named: Mapping[str, Any]) -> Writer:
    if isinstance(kind, str) and kind in named:
        kind = named[kind]
    match kind:
        case "string" | "boolean" | "long":
            return _scalar(_PLAIN[kind])
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return _scalar(time)
        case {"type": "bytes", "logicalType": "decimal", "precision": int(p), "scale": int(s)}:
            return _scalar(partial(decimal, precision=p, scale=s))
        case {"type": "array", "items": items}:
            return _texts if items == "string" else _array(_value(items, named))
        case {"type": "record"}:
            return _record(kind, named)
        case _:
            raise ValueError("Implementation error: a type that no item is given.")


def _scalar(encode: Callable[[Any], bytes]) -> Writer:
    def write(value: Any, out: list[bytes]) -> None:
        out.append(encode(value))

    return write


def _texts(value: Any, out: list[bytes]) -> None:
    if type(value) is not list:
        raise MisfitError
    append = out.append
    if value:
        append(varint(len(value)))
    for each in value:
        if type(each) is str and each.isascii() and (size := len(each)) < len(_LENGTHS):
            append(_LENGTHS[size])
            append(each.encode())
        else:
            append(text(each))
    append(_END)


def _array(write_item: Writer) -> Writer:
    def write(value: Any, out: list[bytes]) -> list[Extra] | None:
        if type(value) is not list:
            raise MisfitError
        extras = None
        if value:
            out.append(varint(len(value)))
        for index, item in enumerate(value):
            inner = write_item(item, out)
            if inner:
                extras = [*(extras or ()), *_below(f"/{index}", "[]", inner)]
        out.append(_END)
        return extras

    return write


def _pointer(name: str) -> str:
    escaped = name.replace("~", "~0").replace("/", "~1")
    return "/" + _SURROGATE.sub(lambda found: f"~2{ord(found[0]):04x}", escaped)


def _unknown(raw: Mapping[str, Any], known: frozenset[str]) -> list[Extra]:
    return [
        Extra(_pointer(name), json.dumps(value), None)
        for name, value in raw.items()
        if name not in known
    ]


def _misfit(name: str, value: Any) -> Extra:
    return Extra(_pointer(name), json.dumps(value), f".{name}")


def _below(pointer: str, field: str, inner: list[Extra]) -> list[Extra]:
    return [
        Extra(pointer + each.pointer, each.text, each.field and field + each.field)
        for each in inner
    ]
