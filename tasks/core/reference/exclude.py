"""Exclusion: what of a reference is read; the rest is not even looked at."""

from __future__ import annotations

import os
from functools import partial

from ..rootfs.scrub_rules import is_emptied, paths_of
from ..scan.reader import ScanOptions
from ..site.model import Image
from ..tree.filter import NEVER_COPIED, LazyFilter

# file systems of their own that belong to a root all the same
SEPARATE = ("/boot", "/usr", "/var", "/opt")


def bounds(image: Image) -> ScanOptions:
    """What is left out, or left unread, and which other file systems are not, for a scan."""
    patterns = (*NEVER_COPIED, *image.exclude)
    paths = SEPARATE if image.also is None else image.also
    also = tuple(os.fsencode(path.strip("/")) for path in paths)
    rules = repr((patterns, image.keep))
    unread = partial(is_emptied, allowed=paths_of(image.keep))
    return ScanOptions(LazyFilter(patterns), also, rules, unread=unread)
