"""What site.img holds, as it was generated."""

from __future__ import annotations

from collections.abc import Mapping

# site.img


HOSTS, CANONICAL = "plugnode/hosts", "plugnode/hosts.canonical"


def as_generated(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of `site_image` with hosts once, as it was generated: as a node that runs has it."""
    once = dict(files)
    if CANONICAL in once:
        once[HOSTS] = once.pop(CANONICAL)
    return once
