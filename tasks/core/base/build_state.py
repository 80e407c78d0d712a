"""State: what a build keeps for itself as JSON. Where it is damaged it is made anew, and a line says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .shapes import Shape, fit


def load_kept_json(path: str, shape: Shape, say: Callable[[str], None]) -> Any:
    """What a file of that shape holds; None where there is none, where it is `null`, and where it is damaged."""
    try:
        with open(path, "rb") as file:
            value = json.load(file)
        if value is not None:
            fit(value, shape, path)
        return value
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        say(f"{path}: damaged; it is made anew")
        return None
