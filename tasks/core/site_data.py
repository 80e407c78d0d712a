"""What site.img holds, as it was generated."""

from __future__ import annotations

from collections.abc import Mapping

HOSTS, CANONICAL = "plugnode/hosts", "plugnode/hosts.canonical"


def as_generated(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What `site_image` gives, with hosts once: as it was generated and running nodes have it."""
    once = dict(files)
    if CANONICAL in once:
        once[HOSTS] = once.pop(CANONICAL)
    return once
