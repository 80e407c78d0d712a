"""Values of JSON held against their shape: whoever wrote them."""

from __future__ import annotations

from typing import Any

Shape = Any


class Misfit(ValueError):
    """A value is not of its shape; what and where."""


def fit(value: Any, shape: Shape, where: str) -> None:
    """Raises Misfit where the value has not that shape. `where` names the value."""
    if isinstance(shape, dict):
        _is(value, dict, where)
        pairs = ((name, shape[str]) for name in value) if str in shape else shape.items()
        for name, inner in pairs:
            _fit_name(value, name, inner, where)
    elif isinstance(shape, (list, tuple)):
        _is(value, list, where)
        if isinstance(shape, tuple) and len(value) != len(shape):
            raise Misfit(f"{where} has {len(value)} values, not {len(shape)}")
        for number, held in enumerate(value):
            fit(held, shape[number if isinstance(shape, tuple) else 0], f"{where}[{number}]")
    else:
        _is(value, shape, where)


def _fit_name(value: dict[str, Any], name: str, shape: Shape, where: str) -> None:
    optional, name = (
        name.endswith("?") and name not in value,
        name if name in value else name.rstrip("?"),
    )
    if name in value:
        fit(value[name], shape, f"{where}.{name}")
    elif not optional:
        raise Misfit(f"{where}.{name} is missing")


def _is(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise Misfit(f"{where} is not {getattr(kind, '__name__', kind)}")
