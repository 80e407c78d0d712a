"""What the boot files on a server say: which release and site data they name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..release import ID_END, name_in
from .paths import BOOT_FILES, RELEASE_ID, Targets
from .served import contents_of

_NAMED = re.compile(rf"(?<![\w.-])({RELEASE_ID})(?![\w.-])".encode())

_OF_SITE = re.compile(rf"\bsite{ID_END}/[\w.-]+".encode())


def read_files(targets: Targets) -> dict[str, bytes]:
    """The boot files of a server, by their names below tftp_root."""
    try:
        names = sorted(os.listdir(targets.served(BOOT_FILES)))
    except FileNotFoundError:
        return {}
    files = []
    for name in names:
        path = BOOT_FILES + name
        if os.path.isfile(targets.served(path)):
            files.append(path)
    return dict(contents_of(targets, files))


def named(data: bytes) -> set[str]:
    """The releases and site data that a boot file names."""
    return {word.decode() for word in _NAMED.findall(data)}


def parts_of_site_data(data: bytes) -> set[str]:
    """The files of site data that a boot file names, below tftp_root."""
    return {word.decode() for word in _OF_SITE.findall(data)}


def is_id(text: str) -> bool:
    """Is that the name of a release or of site data, and nothing else?"""
    return bool(_NAMED.fullmatch(text.encode()))


def current(files: Mapping[str, bytes], image: str) -> str | None:
    """The release that `image` boots, by its boot files; None where there is none."""
    for name, data in sorted(files.items()):
        if name.startswith(f"{BOOT_FILES}{image}."):
            for id in sorted(named(data)):
                if name_in(id) == image:
                    return id
    return None


def site_named(files: Mapping[str, bytes]) -> str | None:
    """The site data that boot files name."""
    ids = set[str]()
    for name, data in files.items():
        if name.startswith(BOOT_FILES):
            ids |= named(data)
    sites = [id for id in ids if id.startswith("site-")]
    return min(sites, default=None)
