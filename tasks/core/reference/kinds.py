"""The kinds of reference that there are."""

from __future__ import annotations

import hashlib

from ..site.model import Image, Reference
from .archive import ARCHIVE
from .bootstrap import BOOTSTRAP
from .kind import ReferenceKind
from .oci import OCI
from .path import PATH
from .rsync import RSYNC

KINDS = {kind.name: kind for kind in (RSYNC, PATH, ARCHIVE, BOOTSTRAP, OCI)}


def kind_of(reference: Reference) -> ReferenceKind:
    """All that is known of the kind of a reference."""
    return KINDS[reference.kind]


def describe(image: Image) -> str:
    """An image's reference in a few words."""
    return kind_of(image.reference).describe(image.reference)


def key(image: Image) -> str:
    """12 hex digits of what the reference is; images that say the same share a snapshot."""
    said = kind_of(image.reference).identity(image)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]
