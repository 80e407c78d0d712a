"""pydantic's complaints in an admin's words, and what is right of a value that is wrong."""

from __future__ import annotations

import functools
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from .nodes import Complain
from .strict_yaml import EMPTY, Path, kind, shown_value
from .values import InvalidValue, suggestion

EXPECTED = {
    "string_type": "a string",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
}
WRITE = {
    "a string": "write one value",
    "a mapping": "write `key: value` lines",
    "a list": "write it as [one, two]",
}


def validate_site(model: type[BaseModel], raw: Any, complain: Complain) -> Any:
    """`raw` as a `model`. What is wrong is complained about, and is None in what is given."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            _complain(model, found, complain)
        return _best(model, raw)


# What is wrong


def _complain(model: type[BaseModel], found: Any, complain: Complain) -> None:
    """One of pydantic's errors, in our words."""
    place, unknown = found["loc"], found["type"] == "extra_forbidden"
    path = tuple(step for step in place if step != "[key]")
    wrong = _unknown(model, path) if unknown else _wrong(model, path, found)
    # a secret may have been written there, where its place belongs
    is_shown = not unknown and path[-1:] not in (("from",), ("password",))
    value = found["input"] if is_shown else None
    at_key = unknown or "[key]" in place
    complain(path, wrong.what, wrong.hint, value, at_key)


def _unknown(model: type[BaseModel], path: Path) -> InvalidValue:
    """A key that its mapping does not know."""
    key, parent = path[-1], _type_at(model, path[:-1])
    return InvalidValue(
        f'unknown key "{shown_value(key)}"', suggestion(str(key), parent.model_fields)
    )


def _wrong(model: type[BaseModel], path: Path, found: Any) -> InvalidValue:
    """What is wrong with a value, and what to do."""
    what, value = found["type"], found["input"]
    more = found.get("ctx", {})
    if value in (EMPTY, ""):
        return InvalidValue("empty value", "give it one, or leave the key out")
    if isinstance(more.get("error"), InvalidValue):
        return more["error"]  # type: ignore[no-any-return]
    if what == "missing":
        return InvalidValue("required", f"add `{path[-1]}:{_example(model, path)}`")
    if what in EXPECTED:
        expected = EXPECTED[what]
        return InvalidValue(f"expected {expected}, got {kind(value)}", WRITE[expected])
    if what == "too_short":
        return InvalidValue(f"no {path[-1]} defined", "give at least one")
    if what == "too_long":
        return InvalidValue(f"more than {more['max_length']} {path[-1]}", "use fewer")
    return InvalidValue(found["msg"], "see docs/site.md")


def _example(model: type[BaseModel], path: Path) -> str:
    parent = _type_at(model, path[:-1])
    examples = parent.model_fields[path[-1]].examples
    return f" {examples[0]}" if examples else ""


def _type_at(model: Any, path: Path) -> Any:
    """The type of what stands at `path` below a model."""
    for step in path:
        model = _plain(model)
        if _is_model(model):
            model = model.model_fields[step].annotation
        else:
            model = get_args(model)[-1]
    return _plain(model)


def _plain(wanted: Any) -> Any:
    """A type without Annotated[…] and without `| None`."""
    if hasattr(wanted, "__metadata__"):
        return _plain(wanted.__origin__)
    options = get_args(wanted)
    if NoneType not in options:
        return wanted
    first = next(option for option in options if option is not NoneType)
    return _plain(first)


def _is_model(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, BaseModel)


# What is right


def _best(wanted: Any, raw: Any) -> Any:
    """The valid parts of `raw`, which is wrong somewhere; None where nothing is left."""
    try:
        return _adapter(wanted).validate_python(raw)
    except ValidationError:
        pass
    plain = _plain(wanted)
    if isinstance(raw, dict) and _is_model(plain):
        return _best_model(plain, raw)
    if isinstance(raw, dict) and get_origin(plain) is dict:
        _, part = get_args(plain)
        return {key: _best(part, value) for key, value in raw.items()}
    if isinstance(raw, list) and get_origin(plain) is list:
        (part,) = get_args(plain)
        return [_best(part, value) for value in raw]
    return None


def _best_model(model: type[BaseModel], raw: dict[str, Any]) -> BaseModel:
    given: dict[str, Any] = {}
    missing: dict[str, None] = {}
    for name, wanted in _fields(model).items():
        if name in raw:
            given[name] = _best(wanted, raw[name])
        elif model.model_fields[name].is_required():
            missing[name] = None
    return model.model_construct(set(given), **given, **missing)


@functools.lru_cache(None)
def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.rebuild_annotation() for name, field in model.model_fields.items()}


@functools.lru_cache(None)
def _adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)
