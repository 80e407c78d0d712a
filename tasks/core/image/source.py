"""Source: all that a root or an initrd is made of, as a value."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..site.keys import ROOT, recipe, rows
from ..site.model import Image


class ImageSource(NamedTuple):
    """What one thing is made of: an image's settings, and where its files are."""

    made: str  # ROOT or INITRD
    image: Image  # of its settings those by which that is made
    reference: str  # the folder that is the reference
    in_place: bool  # it is not the build's own
    state: str  # the file of what the build keeps of the image for itself
    folders: tuple[str, ...]  # where overlays/ are looked up
    site: str  # the file that complaints are about
    keys: tuple[str, ...] = ()  # of an initrd: those by which it knows site data

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Its settings: where files lie decides nothing."""
        given = recipe(self.made, self.image)
        more = (*self.image.secret_places, *self.keys, *["tags"] * self.image.tags)
        return self.image.name, *given, *more


def settings_for(made: str, image: Image) -> Image:
    """The image with those of its settings alone by which a root, or an initrd, is made."""
    of_initrd = {"signers": (), "tags": False}
    others: dict[str, Any] = of_initrd if made == ROOT else {"secret_places": ()}
    for row in rows(Image).values():
        inside = isinstance(row.key.kind, type) and not row.key.recipe
        if row.key.recipe != made and not inside and row.name != "reference":
            others[row.name] = row.default
    return image._replace(**others)
