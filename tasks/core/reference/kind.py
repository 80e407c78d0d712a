"""What is known of a kind of reference; each has a module beside this one that says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..base.boot_programs import AMD64
from ..base.process import Say
from ..site.model import Image, Reference
from .snapshot import Snapshot

Facts = dict[str, Any]  # what a snapshot's maker notes of it, as JSON
Take = Callable[[Image, Snapshot, Say], Facts | None]


def no_files(reference: Reference) -> list[str]:
    """None: only who asks for it gets another snapshot."""
    return []


def reference_alone(image: Image) -> tuple[Any, ...]:
    """The reference, and nothing else of the image."""
    return image.reference, None


def reference_and_arch(image: Image) -> tuple[Any, ...]:
    """The reference, which is there for several processors."""
    return image.reference, None if image.arch == AMD64 else image.arch


class ReferenceKind(NamedTuple):
    """One way to say what an image's root is made of."""

    name: str  # its key in site.yaml, and `Reference.kind`
    describe: Callable[[Reference], str]  # it in a few words
    label: Callable[[Reference], str]  # the same for all to read: of paths here the last part
    # Fills `snapshot.begin()` and gives back what to note of it, or None where the snapshot is of
    # just that already; no way at all: it is read where it is. Raises Refused or BadInput.
    take: Take | None
    # Files of this machine, a change of which asks for another snapshot
    files: Callable[[Reference], list[str]] = no_files
    # Images that agree in it share a snapshot
    identity: Callable[[Image], tuple[Any, ...]] = reference_alone

    @property
    def is_in_place(self) -> bool:
        """Whether it is read where it is, and never written to: it has no snapshot."""
        return self.take is None


def where(reference: Reference) -> str:
    """What the site says of where it is."""
    return reference.where
