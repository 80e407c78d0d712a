"""What a server's site.img holds: texts, the site's name among them."""

from __future__ import annotations

import os
import re

from ..archive import cpio
from ..base.errors import BadInput
from ..site_data import as_generated

SITE = "plugnode/site"  # the file of site.img that says which site it is

_NAME = re.compile(rb"^site=(.*)$", re.MULTILINE)


def texts_of(site_img: bytes) -> dict[str, bytes]:
    """The files in site.img, as they were generated; none where it cannot be read."""
    try:
        tree = cpio.read_image(site_img, "site.img").tree
    except BadInput:
        return {}
    texts = {}
    for path, entry in tree.items():
        if entry.data is not None:
            texts[os.fsdecode(path)] = entry.data
    return as_generated(texts)


def site_in(site_img: bytes) -> str:
    """The site whose data that is; "" where that cannot be seen."""
    return site_name(texts_of(site_img).get(SITE, b""))


def site_name(text: bytes) -> str:
    """The site's name by that file of site.img; "" where it does not say it."""
    found = _NAME.search(text)
    return found[1].decode(errors="replace") if found else ""
