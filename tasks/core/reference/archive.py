"""A reference that is a tar archive, in any compression that libarchive reads."""

from __future__ import annotations

import os

from ..base.errors import Refused
from ..base.files import digest_file
from ..base.process import Say
from ..site.model import Image, Reference
from ..unpack.tar import unpack
from .kind import Facts, ReferenceKind, where
from .snapshot import Snapshot


def _take(image: Image, snapshot: Snapshot, say: Say) -> Facts | None:
    """Unpack the archive; None where the snapshot is of these very bytes."""
    path = image.reference.where
    try:
        digest = digest_file(path)
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    known = snapshot.facts()
    is_mine = ("claims" in known) == bool(os.geteuid())
    if known.get("sha256") == digest and is_mine and os.path.isdir(snapshot.tree):
        return None
    say(f"{path}: unpacking")
    for warning in unpack(path, snapshot.begin(), snapshot.claims, say):
        say(f"{path}: {warning}")
    return {"sha256": digest, **snapshot.claimed()}


def _label(reference: Reference) -> str:
    return f"archive {os.path.basename(reference.where.rstrip('/'))}"


def _files(reference: Reference) -> list[str]:
    return [reference.where]


KIND = ReferenceKind("archive", describe=where, label=_label, take=_take, files=_files)
