# SPDX-License-Identifier: Apache-2.0
"""
Whether one version of a schema may follow another.

Stricter than FULL_TRANSITIVE, in which every version reads every other: a registry does
not compare logical types, precision, scale and namespaces (notes 25; DESIGN section 7), and
those change what a number means. What was released stands in ``schemas/released.json`` and
is never edited; ``python -m connector.encoding.evolution <version>`` adds to it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from connector.encoding import json
from connector.encoding.schemas import Schema, directory, parse, shipped

LEVEL: Final = "FULL_TRANSITIVE"

_RELEASED: Final = "released.json"
_TEXTS: Final = ("type", "name", "logicalType", "precision", "scale", "size", "symbols")


class Released(NamedTuple):
    """
    The text of a schema in one release.

    Attributes:
        release: The version of the connector.
        sha256: Of the canonical JSON of the schema, in hexadecimal digits.
        schema: The schema.
    """

    release: str
    sha256: str
    schema: Schema


def compare(old: Schema, new: Schema) -> list[str]:
    """
    Say what forbids that one schema follows another; nothing if it may.

    Fields with a default may come and go, docs may change. All else has to stay: full
    names, types, logical types, precision, scale, the branches of a union and their
    order, defaults.

    Args:
        old: A version that records were written with.
        new: The version that is to follow it.

    Returns:
        One sentence a problem, by the path of the field.
    """
    return list(_types(old.parsed, new.parsed, old.named, new.named, new.name))


def undocumented(schema: Schema) -> list[str]:
    """
    Name the records and fields of a schema that have no doc.
    """
    named = schema.named.values()
    records = [each for each in named if each["type"] == "record"]
    fields = [
        (f"{each['name']}.{field['name']}", field) for each in records for field in each["fields"]
    ]
    return [
        name for name, each in [(r["name"], r) for r in records] + fields if not each.get("doc")
    ]


def _types(
    old: Any, new: Any, old_named: Mapping[str, Any], new_named: Mapping[str, Any], path: str
) -> Iterator[str]:
    old, new = _resolve(old, old_named), _resolve(new, new_named)
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{path}: the union has other branches."
            return
        for was, now in zip(old, new, strict=True):
            yield from _types(was, now, old_named, new_named, path)
        return
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield f"{path}: one is a union, the other is not."
        return
    changed = [each for each in _TEXTS if old.get(each) != new.get(each)]
    if changed:
        yield from (f"{path}: {each} changed." for each in changed)
        return
    for inner in ("items", "values"):
        if inner in old:
            yield from _types(old[inner], new[inner], old_named, new_named, f"{path}[]")
    if "fields" in old:
        yield from _fields(old, new, old_named, new_named, path)


def _fields(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    old_named: Mapping[str, Any],
    new_named: Mapping[str, Any],
    path: str,
) -> Iterator[str]:
    before = {each["name"]: each for each in old["fields"]}
    after = {each["name"]: each for each in new["fields"]}
    for name in sorted(before.keys() | after.keys()):
        was, now, place = before.get(name), after.get(name), f"{path}.{name}"
        if was is None or now is None:
            if "default" not in (was or now or {}):
                change = "added" if was is None else "removed"
                yield f"{place}: {change}, and it has no default."
            continue
        if _default(was) != _default(now):
            yield f"{place}: the default changed."
        yield from _types(was["type"], now["type"], old_named, new_named, place)


def _default(field: Mapping[str, Any]) -> bytes | None:
    return json.canonical(field["default"]) if "default" in field else None


def _resolve(kind: Any, named: Mapping[str, Any]) -> Any:
    # "long" and {"type": "long"} are one type.
    return named.get(kind, {"type": kind}) if isinstance(kind, str) else kind


def digest(schema: Schema) -> str:
    """
    Hash the text of a schema, docs included, white space and order of keys not.
    """
    return hashlib.sha256(json.canonical(schema.source)).hexdigest()


def released() -> dict[str, list[Released]]:
    """
    Read what was released, oldest first, by path of the schema.
    """
    stored = json.loads((directory() / _RELEASED).read_bytes())
    return {
        path: [
            Released(each["release"], each["sha256"], parse(path, json.dumps(each["schema"])))
            for each in texts
        ]
        for path, texts in stored.items()
    }


def problems() -> list[str]:
    """
    Say what forbids a release of the shipped schemas, compared with all earlier ones.
    """
    found = []
    current = {schema.path: schema for schema in shipped()}
    for path, texts in released().items():
        for text in texts:
            if digest(text.schema) != text.sha256:
                found.append(f"{path}: the text of release {text.release} was edited.")
            if path not in current:
                found.append(f"{path}: was released in {text.release} and is gone.")
                continue
            found += [
                f"{path}, against release {text.release}: {each}"
                for each in compare(text.schema, current[path])
            ]
    for schema in current.values():
        found += [f"{schema.path}: {name} has no doc." for name in undocumented(schema)]
    return found


def freeze(release: str) -> list[str]:
    """
    Add the shipped schemas to the released ones, where their text is new.

    Returns:
        The paths that were added.
    """
    known = released()
    added = []
    stored = json.loads((directory() / _RELEASED).read_bytes())
    for schema in shipped():
        if digest(schema) in {each.sha256 for each in known.get(schema.path, ())}:
            continue
        entry = {"release": release, "sha256": digest(schema), "schema": schema.source}
        stored.setdefault(schema.path, []).append(entry)
        added.append(schema.path)
    (directory() / _RELEASED).write_bytes(_indented(stored))
    return added


def _indented(stored: Mapping[str, list[Mapping[str, Any]]]) -> bytes:
    # One line a release: a diff shows what a release added, and nothing else.
    paths = []
    for path, texts in sorted(stored.items()):
        lines = b",\n".join(b"    " + json.dumps(each) for each in texts)
        paths.append(b"  " + json.dumps(path) + b": [\n" + lines + b"\n  ]")
    return b"{\n" + b",\n".join(paths) + b"\n}\n"


def _main() -> int:
    found = problems()
    sys.stdout.writelines(f"{line}\n" for line in found or freeze(sys.argv[1]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(_main())
