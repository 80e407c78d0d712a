"""A reference that is a folder of this machine: read where it is, and never written to."""

from __future__ import annotations

import os

from ..site.model import Reference
from .kind import ReferenceKind, where


def _label(reference: Reference) -> str:
    return f"path {os.path.basename(reference.where.rstrip('/'))}"


KIND = ReferenceKind("path", describe=where, label=_label, take=None)
