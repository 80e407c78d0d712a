"""The files below tftp_root that earlier deploys wrote, kept as sha256sum(1) reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .paths import Targets
from .served import readable_content

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>/[^\0]+)")


def ours_as_text(targets: Targets, digests: Mapping[str, str]) -> bytes:
    """The lines for these files: name below tftp_root -> sha256."""
    lines = (f"{digest}  {targets.tftp}/{name}\n" for name, digest in sorted(digests.items()))
    return "".join(lines).encode(errors="surrogateescape")


def read_ours(targets: Targets) -> dict[str, str]:
    """Name below tftp_root -> sha256 of what earlier deploys wrote there."""
    root = targets.tftp + "/"
    digests = {}
    for found in map(_LINE.fullmatch, _lines(targets)):
        if found and _is_inside(found["path"], root):
            digests[found["path"].removeprefix(root)] = found["digest"]
    return digests


def damaged_ours(targets: Targets) -> bool:
    """Is what is kept of them not as it was written?"""
    path = targets.kept("files")
    if os.path.lexists(path) and not os.path.isfile(path):
        return True
    unread = os.path.isfile(path) and readable_content(path) is None
    return unread or not all(map(_LINE.fullmatch, _lines(targets)))


def _lines(targets: Targets) -> list[str]:
    data = readable_content(targets.kept("files")) or b""
    text = data.decode(errors="surrogateescape")
    if not text:
        return []
    return text.removesuffix("\n").split("\n")


def _is_inside(path: str, root: str) -> bool:
    return path.startswith(root) and os.path.normpath(path) == path
