# SPDX-License-Identifier: Apache-2.0
"""
Reads settings from environment variables, and collects every problem on the way.

Plain pydantic models are filled from here, instead of by pydantic-settings, because
four of our rules need the names and not only the values: X_FILE beside X, where a
value came from, unknown variables, and several prefixes for one model
(docs/decisions/0004-settings.md).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from connector.config.fields import MASK, WHOLE, Setting, settings_of, show
from connector.config.values import Secret, read_file

Origin = Literal["environment", "file", "default"]
Model = TypeVar("Model", bound=BaseModel)

FILE: Final = "_FILE"

# What Kubernetes injects for a Service whose name begins like one of our prefixes.
_KUBERNETES_NAME: Final = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_URL: Final = re.compile(r"(tcp|udp|sctp)://.*", re.DOTALL)

# The errors of pydantic that plain text types and bounds can give, in our words.
_TEXTS: Final = {
    "bool_parsing": "is neither true nor false",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number that we can hold",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "literal_error": "has to be {expected}",
    "missing": "is required",
}


_WHOLE: Final = re.compile(r"\s*-?[0-9]+\s*")


class Value(NamedTuple):
    """
    What one variable holds, and where that came from.
    """

    text: str
    origin: Origin
    path: Path | None = None


class Effective(NamedTuple):
    """
    One setting as it counts: a line of ``connector config``.

    Attributes:
        variable: Its name.
        value: Its value, masked where it is a secret; None if it is not set.
        origin: ``environment``, ``file`` (it came from X_FILE) or ``default``.
    """

    variable: str
    value: str | None
    origin: Origin


@dataclass
class Environment:
    """
    The variables of one process, read once.

    Attributes:
        variables: Names and values, without what Kubernetes injects.
        problems: ``(variable, what is wrong with it)``, never with a value.
        known: The names that mean something, X_FILE forms included.
        effective: The settings read so far, as they count.
    """

    variables: Mapping[str, str]
    problems: list[tuple[str, str]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    effective: list[Effective] = field(default_factory=list)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Environment:
        """
        Take over what is set; an empty variable counts as one that is not set.
        """
        return cls({n: v for n, v in environ.items() if v and not is_injected(n, v)})

    def problem(self, variable: str, text: str) -> None:
        """
        Note a problem; it is reported together with all others.
        """
        self.problems.append((variable, text))

    def read(self, variable: str) -> Value | None:
        """
        Give the value of X, or that of the file which X_FILE names.

        None with a problem noted if both are set, or if the file or the text is
        unusable; None without one if neither is set.
        """
        self.known |= {variable, variable + FILE}
        text, path = self.variables.get(variable), self.variables.get(variable + FILE)
        if text is not None and path is not None:
            self.problem(variable, f"is set, and so is {variable}{FILE}: set one of them")
            return None
        if text is not None:
            if not is_utf8(text):
                self.problem(variable, "is not UTF-8")
                return None
            return Value(text, "environment")
        if path is not None:
            try:
                return Value(read_file(Path(path)), "file", Path(path))
            except ValueError as error:
                self.problem(variable + FILE, str(error))
        return None

    def fill(self, model: type[Model], prefix: str, **fixed: Any) -> Model | None:
        """
        Make a model from the variables of its fields; None if there were problems.

        Args:
            model: Its fields become ``<prefix><FIELD>``.
            prefix: With the underscore at its end.
            fixed: Fields that are no variables.
        """
        declared = settings_of(model, prefix)
        before = len(self.problems)
        found: dict[str, Value] = {}
        values: dict[str, Any] = dict(fixed)
        for setting in declared:
            value = self.read(setting.variable)
            if value is None:
                continue
            found[setting.field] = value
            values[setting.field] = value.text
            if setting.kind == WHOLE and not _WHOLE.fullmatch(value.text):
                # pydantic would take 1.0 and 1_0 as well.
                self.problem(setting.variable + _suffix(value), _TEXTS["int_parsing"])
            if setting.secret:
                values[setting.field] = self._secret(setting.variable, value)
        failed = {variable.removesuffix(FILE) for variable, _ in self.problems[before:]}
        try:
            filled = model.model_validate(values)
        except ValidationError as errors:
            self._explain(errors, declared, found, failed, prefix)
            return None
        for setting in declared:
            origin = found[setting.field].origin if setting.field in found else "default"
            shown = show(setting, getattr(filled, setting.field))
            self.effective.append(Effective(setting.variable, shown, origin))
        return filled if len(self.problems) == before else None

    def _secret(self, variable: str, value: Value) -> Secret:
        try:
            return Secret(value.text, path=value.path, variable=variable + FILE)
        except ValueError as error:
            self.problem(variable if value.path is None else variable + FILE, str(error))
            return Secret("")

    def _explain(
        self,
        errors: ValidationError,
        declared: Iterable[Setting],
        found: Mapping[str, Value],
        failed: set[str],
        prefix: str,
    ) -> None:
        names = {setting.info.alias or setting.field: setting for setting in declared}
        for error in errors.errors(include_url=False, include_input=False):
            setting = names.get(str(error["loc"][0])) if error["loc"] else None
            text = _TEXTS.get(error["type"], "").format(**error.get("ctx", {}))
            text = text or error["msg"].removeprefix("Value error, ")
            if setting is None:
                self.problem(prefix + "*", _without(text, found.values()))
                continue
            if setting.variable in failed:
                continue
            value = found.get(setting.field)
            self.problem(
                setting.variable + _suffix(value), _without(text, [value] if value else [])
            )

    def unknown(self, prefix: str, *, besides: Iterable[str] = ()) -> list[str]:
        """
        List the variables under a prefix that mean nothing.

        Args:
            prefix: One of ours.
            besides: Longer prefixes whose variables are looked at on their own.
        """
        apart = tuple(besides)
        return [
            name
            for name in sorted(self.variables)
            if name.startswith(prefix) and name not in self.known and not name.startswith(apart)
        ]


def is_injected(name: str, value: str) -> bool:
    """
    Tell whether Kubernetes injects such a variable for a Service of its own accord.
    """
    if name.endswith("_PORT") and _KUBERNETES_URL.fullmatch(value):
        return True
    return _KUBERNETES_NAME.fullmatch(name) is not None


def is_utf8(text: str) -> bool:
    """
    Tell whether a variable was valid UTF-8 (Python smuggles other bytes in as surrogates).
    """
    return not any("\ud800" <= char <= "\udfff" for char in text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """
    Give ``: did you mean X?``, or nothing if no known name is near.
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return f": did you mean {near[0]}?" if near else ""


def _suffix(value: Value | None) -> str:
    return FILE if value and value.origin == "file" else ""


def _without(text: str, values: Iterable[Value]) -> str:
    """
    Take values out of a text that a validator made: the last wall, not the first.
    """
    for value in values:
        if len(value.text) >= 6:
            text = text.replace(value.text, MASK)
    return text
