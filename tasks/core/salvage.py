"""pydantic's complaints in an admin's words, and whatever is right of a value that has something wrong."""

from __future__ import annotations

import functools
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from .grammar import InvalidValue, suggestion
from .nodes import Complain
from .yaml_source import EMPTY, Path, kind, shown

EXPECTED = {"string_type": "a string", "model_type": "a mapping", "dict_type": "a mapping", "list_type": "a list"}
WRITE = {"a string": "write one value", "a mapping": "write `key: value` lines", "a list": "write it as [one, two]"}


def parse(model: type[BaseModel], raw: Any, complain: Complain) -> Any:
    """`raw` as a `model`. What is wrong is complained about, and stands as None in what is given."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            path = tuple(step for step in found["loc"] if step != "[key]")
            at_key = found["type"] == "extra_forbidden" or "[key]" in found["loc"]
            value = found["input"] if found["type"] != "extra_forbidden" else None
            wrong = _wrong(model, path, found)
            complain(path, wrong.what, wrong.hint, value, at_key)
        return _best(model, raw)


# What is wrong


def _wrong(model: type[BaseModel], path: Path, found: Any) -> InvalidValue:
    """One of pydantic's errors as what is wrong and what to do."""
    what, error = found["type"], found.get("ctx", {}).get("error")
    if found["input"] in (EMPTY, "") and what != "extra_forbidden":
        return InvalidValue("empty value", "give it one, or leave the key out")
    if isinstance(error, InvalidValue):
        return error
    if what == "missing":
        return InvalidValue("required", f"add `{path[-1]}:{_example(model, path)}`")
    if what == "extra_forbidden":
        parent = _type_at(model, path[:-1])
        return InvalidValue(f'unknown key "{shown(path[-1])}"', suggestion(str(path[-1]), parent.model_fields))
    if what in EXPECTED:
        expected = EXPECTED[what]
        return InvalidValue(f"expected {expected}, got {kind(found['input'])}", WRITE[expected])
    if what == "too_short":
        return InvalidValue(f"no {path[-1]} defined", "give at least one")
    if what == "too_long":
        return InvalidValue(f"more than {found['ctx']['max_length']} {path[-1]}", "use fewer")
    return InvalidValue(found["msg"], "see docs/site.md")


def _example(model: type[BaseModel], path: Path) -> str:
    parent = _type_at(model, path[:-1])
    examples = parent.model_fields[path[-1]].examples
    return f" {examples[0]}" if examples else ""


def _type_at(model: Any, path: Path) -> Any:
    """The type of what stands at `path` below a model."""
    for step in path:
        model = _plain(model)
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[step].annotation
        else:
            model = get_args(model)[-1]
    return _plain(model)


def _plain(wanted: Any) -> Any:
    """A type without Annotated[…] and without `| None`."""
    if hasattr(wanted, "__metadata__"):
        return _plain(wanted.__origin__)
    options = [option for option in get_args(wanted) if option is not NoneType]
    return _plain(options[0]) if NoneType in get_args(wanted) else wanted


# What is right


def _best(wanted: Any, raw: Any) -> Any:
    """The valid parts of `raw`, which is wrong somewhere; None where nothing is left."""
    try:
        return _adapter(wanted).validate_python(raw)
    except ValidationError:
        pass
    plain = _plain(wanted)
    if isinstance(raw, dict) and isinstance(plain, type) and issubclass(plain, BaseModel):
        return _best_model(plain, raw)
    if isinstance(raw, dict) and get_origin(plain) is dict:
        return {key: _best(get_args(plain)[1], value) for key, value in raw.items()}
    if isinstance(raw, list) and get_origin(plain) is list:
        return [_best(get_args(plain)[0], value) for value in raw]
    return None


def _best_model(model: type[BaseModel], raw: dict[str, Any]) -> BaseModel:
    given = {name: _best(wanted, raw[name]) for name, wanted in _fields(model).items() if name in raw}
    missing = {name: None for name, field in model.model_fields.items() if field.is_required() and name not in raw}
    return model.model_construct(set(given), **given, **missing)


@functools.lru_cache(None)
def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.rebuild_annotation() for name, field in model.model_fields.items()}


@functools.lru_cache(None)
def _adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)
