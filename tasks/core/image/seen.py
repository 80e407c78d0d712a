"""By what a change of a source is seen: walks that read no file of a reference."""

from __future__ import annotations

import os
import time
from functools import lru_cache

from ..base.files import digest_file
from ..base.overlays import BUILT_IN_OVERLAYS
from ..initrd import busybox
from ..reference.exclude import bounds
from ..rootfs import overlay
from ..scan import reader
from .source import ImageSource
from .state import load_known


@lru_cache(maxsize=None)
def root_seen(source: ImageSource) -> str:
    """What the folders that go into a root hold, by a walk that reads no file."""
    layers = layers_seen(source)
    if not source.in_place:
        return layers
    changing = time.time_ns()  # what changes right now is looked at again
    return f"{layers} {walked(source).signature or changing}"


@lru_cache(maxsize=None)
def layers_seen(source: ImageSource) -> str:
    """The same of all that is laid over the reference."""
    names = (*BUILT_IN_OVERLAYS, *source.image.overlays)
    return overlay.fingerprint(source.folders, names)


@lru_cache(maxsize=None)
def walked(source: ImageSource) -> reader.Walked:
    """The one walk of a reference in a run; what it found to be new is all that is read then."""
    options = bounds(source.image)
    return reader.look(source.reference, load_known(source.state, options.rules), options)


@lru_cache(maxsize=None)
def initrd_seen(source: ImageSource) -> str:
    """What goes into an initrd and is in no root.

    That is its own scripts, files that are named by their paths, and this machine's busybox.
    """
    wanted = source.image.initrd
    here = filter(os.path.isfile, busybox.HERE if wanted.busybox == "auto" else ())
    stamps = [(found.st_size, found.st_mtime_ns) for found in map(os.stat, here)]
    scripts = overlay.fingerprint(source.folders, ["initrd", "worker"])
    named = filter(os.path.isabs, (wanted.base, wanted.busybox))
    digests = map(digest_file, filter(os.path.exists, named))
    return " ".join([scripts, f"{stamps}", *digests])
