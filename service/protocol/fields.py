"""The kinds of field a request has: what JSON values each accepts, and the words for the rest.

Stricter than pydantic's own: ``16.0`` is the integer 16, but ``true``, ``"16"`` and ``1.5`` are
not. Upper bounds may name a limit, which is looked up in the validation context (``Limits``).
Refusals are ``PydanticCustomError`` whose type is the error code of the API.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from service.errors import shown

#: What a validation context must hold: the names used as bounds, to their values.
Limits = Mapping[str, int | float]

Bound = int | float | str


def refuse(code: str, message: str, param: str) -> PydanticCustomError:
    """A field's refusal with an error code of the API.

    Args:
        code: of ``service.errors.ERROR_KINDS``.
        message: what was wrong, the value given and the value allowed.
        param: the field, dotted or indexed for nested ones.
    """
    context = {"message": message, "param": param}
    return PydanticCustomError(code, "{message}", context)


def refuse_type(name: str, expected: str, value: object) -> PydanticCustomError:
    """The refusal of a value that is not ``expected`` (``a string``)."""
    return refuse("invalid_type", f"{name} must be {expected}, not {shown(value)}", name)


def whole_number(value: object, name: str) -> int:
    """``value`` as an int, if it is one: 16 and 16.0 are, ``true`` and 1.5 are not."""
    if type(value) is int:
        return value
    if type(value) is float and (value.is_integer() or math.isinf(value)):
        return int(value) if math.isfinite(value) else int(math.copysign(1 << 200, value))
    raise refuse_type(name, "an integer", value)


def finite_number(value: object, name: str) -> float:
    """``value`` as a finite float, if it is a number."""
    if type(value) not in (int, float):
        raise refuse_type(name, "a number", value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise refuse("invalid_value", f"{name} must be a finite number", name)
    return number


@dataclass(frozen=True)
class _Bounded:
    """A number between two bounds; a bound that is a text names a limit."""

    low: Bound
    high: Bound

    def check(self, value: float, name: str, limits: Limits) -> None:
        low = limits[self.low] if isinstance(self.low, str) else self.low
        high = limits[self.high] if isinstance(self.high, str) else self.high
        if not low <= value <= high:
            raise refuse(
                "invalid_value", f"{name} must be from {low} to {high}, not {shown(value)}", name
            )

    def json_bounds(self) -> dict[str, Any]:
        bounds: dict[str, Any] = {}
        for key, bound in (("minimum", self.low), ("maximum", self.high)):
            # A limit's value is known when the document is written: see openapi.
            bounds[key if not isinstance(bound, str) else f"x-{key}-limit"] = bound
        return bounds


class _Field:
    """A pydantic annotation: a validator over the raw JSON value, and a JSON schema."""

    def validate(self, value: object, name: str, limits: Limits) -> object:
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def validate(value: object, info: core_schema.ValidationInfo) -> object:
            return self.validate(value, info.field_name or "value", info.context or {})

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.json_schema()


@dataclass(frozen=True)
class Whole(_Bounded, _Field):
    """An integer between two bounds."""

    def validate(self, value: object, name: str, limits: Limits) -> int:
        """The integer, or a refusal."""
        number = whole_number(value, name)
        self.check(number, name, limits)
        return number

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return {"type": "integer", **self.json_bounds()}


@dataclass(frozen=True)
class Real(_Bounded, _Field):
    """A finite number between two bounds."""

    def validate(self, value: object, name: str, limits: Limits) -> float:
        """The number, or a refusal."""
        number = finite_number(value, name)
        self.check(number, name, limits)
        return number

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return {"type": "number", **self.json_bounds()}


@dataclass(frozen=True)
class Flag(_Field):
    """``true`` or ``false``, nothing else."""

    def validate(self, value: object, name: str, limits: Limits) -> bool:
        """The flag, or a refusal."""
        if type(value) is bool:
            return value
        raise refuse_type(name, "true or false", value)

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text(_Field):
    """A string of bounded length, in characters."""

    low: int = 0
    high: int | None = None

    def validate(self, value: object, name: str, limits: Limits) -> str:
        """The string, or a refusal."""
        if type(value) is not str:
            raise refuse_type(name, "a string", value)
        if len(value) < self.low or (self.high is not None and len(value) > self.high):
            allowed = f"{self.low} to {self.high}" if self.high is not None else f">= {self.low}"
            raise refuse(
                "invalid_value", f"{name} must have {allowed} characters, not {len(value)}", name
            )
        return value

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        schema: dict[str, Any] = {"type": "string"}
        if self.low:
            schema["minLength"] = self.low
        if self.high is not None:
            schema["maxLength"] = self.high
        return schema


@dataclass(frozen=True)
class OneOf(_Field):
    """One of a few strings."""

    choices: tuple[str, ...]

    def validate(self, value: object, name: str, limits: Limits) -> str:
        """The string, or a refusal."""
        if type(value) is not str:
            raise refuse_type(name, "a string", value)
        if value not in self.choices:
            allowed = ", ".join(map(shown, self.choices))
            raise refuse(
                "invalid_value", f"{name} must be one of {allowed}, not {shown(value)}", name
            )
        return value

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True, eq=False)
class Shaped(_Field):
    """A field with rules of its own: a function of value, name and limits, and a JSON schema."""

    read: Callable[[Any, str, Limits], Any]
    schema: Mapping[str, Any]

    def validate(self, value: object, name: str, limits: Limits) -> object:
        """What ``read`` makes of the value."""
        return self.read(value, name, limits)

    def json_schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        return dict(self.schema)


Boolean = Annotated[bool, Flag()]
String = Annotated[str, Text()]
