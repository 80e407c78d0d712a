"""What a server's site.img says of itself: the site's name."""

from __future__ import annotations

import re

from ..site_data import files_of

SITE = "plugnode/site"  # the file of site.img that says which site it is

_NAME = re.compile(rb"^site=(.*)$", re.MULTILINE)


def site_in(site_img: bytes) -> str:
    """The site whose data that is; "" where that cannot be seen."""
    return site_name(files_of(site_img).get(SITE, b""))


def site_name(text: bytes) -> str:
    """The site's name by that file of site.img; "" where it does not say it."""
    found = _NAME.search(text)
    return found[1].decode(errors="replace") if found else ""
