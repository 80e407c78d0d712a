"""Values of JSON held against their shape: whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = Any


class Misfit(ValueError):
    """A value is not of its shape; what and where."""


def fit(value: Any, shape: Shape, where: str) -> None:
    """Raise Misfit where the value has not that shape. `where` names the value.

    A shape is a type, `{name: shape}` (`name?` may be missing, `str` is any name), `[shape]` of
    each in a list, or `(shape, shape)` of a list of just so many.
    """
    if isinstance(shape, dict):
        _fit_names(value, shape, where)
    elif isinstance(shape, tuple):
        _fit_values(value, shape, where)
    elif isinstance(shape, list):
        _is(value, list, where)
        _fit_values(value, shape * len(value), where)
    else:
        _is(value, shape, where)


def _fit_names(value: Any, shape: dict[Any, Shape], where: str) -> None:
    _is(value, dict, where)
    if str in shape:
        shape = dict.fromkeys(value, shape[str])
    for name, inner in shape.items():
        _fit_name(value, name, inner, where)


def _fit_values(value: Any, shapes: Sequence[Shape], where: str) -> None:
    _is(value, list, where)
    if len(value) != len(shapes):
        raise Misfit(f"{where} has {len(value)} values, not {len(shapes)}")
    for number, (held, shape) in enumerate(zip(value, shapes)):
        fit(held, shape, f"{where}[{number}]")


def _fit_name(value: dict[str, Any], name: str, shape: Shape, where: str) -> None:
    optional = name.endswith("?") and name not in value
    if name not in value:
        name = name.rstrip("?")
    if name in value:
        fit(value[name], shape, f"{where}.{name}")
    elif not optional:
        raise Misfit(f"{where}.{name} is missing")


def _is(value: Any, kind: Any, where: str) -> None:
    is_boolean = isinstance(value, bool) and kind is int
    if is_boolean or not isinstance(value, kind):
        raise Misfit(f"{where} is not {getattr(kind, '__name__', kind)}")
