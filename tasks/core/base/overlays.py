"""The overlays that nobody lists: they are built in, and always applied."""

from __future__ import annotations

# of a root, always the first; of the last two the one that the reference's init needs
BUILT_IN_OVERLAYS = ("worker", "sysvinit", "systemd")
UNLISTED_OVERLAYS = ("initrd", *BUILT_IN_OVERLAYS)
