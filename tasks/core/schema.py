"""The door for `site.yaml`: reads, validates, and gives a Site; or every problem at once, each at its place.

Imports nothing heavy until a file really has to be read: `load_cached` knows a file that it has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .site import Site
from .site_cache import load_cached as load_cached


def load(path: str, folders: tuple[str, ...]) -> Site:
    """The site that a file describes. `folders` are those below which overlays are looked up (`overlays/<name>`).

    Raises BadInput with every problem found.
    """
    from . import reader

    return reader.read(path, folders)[0]


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 7, as yaml-language-server knows it) of `site.yaml`: completion and help while one types."""
    from . import reader

    return reader.json_schema()


def fold(names: Iterable[str]) -> str:
    """Names as admins write them for clush: `wn[001-040,100]`."""
    from . import ranges

    return ranges.fold(names)
