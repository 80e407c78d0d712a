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
        value = json.loads(read(path))
        if value is not None:
            fit(value, shape, path)
        return value
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        say(f"{path}: damaged; it is made anew")
        return None
