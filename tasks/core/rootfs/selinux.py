"""SELinux: whether a root asks for labels that a root over NFS has not."""

from __future__ import annotations

import re

from ..tree.model import FILE, Circle, Tree, read_content, resolve

CONFIG = b"etc/selinux/config"
_MODE = re.compile(rb"^SELINUX=[ \t]*(\w+)", re.MULTILINE)  # the first counts, as libselinux reads
_OFF = {"selinux=0", "enforcing=0"}  # kernel arguments
WARNING = (
    "SELINUX=enforcing in etc/selinux/config, but the root has no labels over NFS, and programs "
    "would be denied: bring that file with SELINUX=permissive or disabled in an overlay, or add "
    "selinux=0 to the image's `cmdline:`"
)


def is_enforced(tree: Tree) -> bool:
    """Whether a root says that SELinux's policy is enforced."""
    try:
        entry = tree.get(resolve(tree, CONFIG))
    except Circle:
        return False
    if entry is None or entry.type != FILE:
        return False
    found = _MODE.search(read_content(entry))
    return found is not None and found[1].lower() == b"enforcing"


def is_off(cmdline: str) -> bool:
    """Whether kernel arguments say otherwise."""
    return not _OFF.isdisjoint(cmdline.split())
