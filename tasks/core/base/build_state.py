"""What a build keeps for itself as JSON: where damaged, that is made anew and a line says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .files import read
from .shapes import Shape, fit


def load_kept_json(path: str, shape: Shape, say: Callable[[str], None]) -> Any:
    """Give what a file of that shape holds; None where there is none, it is `null`, or damaged."""
    try:
        data = read(path)
    except FileNotFoundError:
        return None
    return parse_kept_json(path, data, shape, say)


def parse_kept_json(path: str, data: bytes, shape: Shape, say: Callable[[str], None]) -> Any:
    """The same of what was read of that file."""
    try:
        value = json.loads(data)
        if value is not None:
            fit(value, shape, path)
        return value
    except (ValueError, RecursionError):
        say(f"{path}: damaged; it is made anew")
        return None
