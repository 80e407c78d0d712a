"""The kinds of reference that there are: the one list, each word a module beside this one.

A site has one or two of them: only theirs is loaded.
"""

from __future__ import annotations

import hashlib
from importlib import import_module

from ..site.model import Image, Reference
from .kind import ReferenceKind

KINDS = ("rsync", "path", "archive", "bootstrap", "oci")


def kind_of(reference: Reference) -> ReferenceKind:
    """All that is known of the kind of a reference."""
    module = import_module(f".{reference.kind}", __package__)
    kind: ReferenceKind = module.KIND
    return kind


def describe(image: Image) -> str:
    """An image's reference in a few words."""
    return kind_of(image.reference).describe(image.reference)


def key(image: Image) -> str:
    """12 hex digits of what the reference is; images that say the same share a snapshot."""
    said = kind_of(image.reference).identity(image)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]
