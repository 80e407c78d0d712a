"""Exclusion: what of a reference is read; the rest is not even looked at."""

from __future__ import annotations

import os
from typing import Any

from ..site.model import Image
from ..tree.filter import NEVER_COPIED, LazyFilter

# file systems of their own that belong to a root all the same
SEPARATE = ("/boot", "/usr", "/var", "/opt")


def bounds(image: Image) -> dict[str, Any]:
    """What is left out, and which file systems besides the root's are not, as arguments of scan."""
    patterns = (*NEVER_COPIED, *image.exclude)
    paths = SEPARATE if image.also is None else image.also
    also = tuple(os.fsencode(path.strip("/")) for path in paths)
    return {"skip": LazyFilter(patterns), "also": also, "rules": repr(patterns)}
