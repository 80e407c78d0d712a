"""What the boot files on a server say: which release and site data they name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from ..base.files import content
from .paths import BOOT_FILES, Targets


def readable_content(path: str) -> bytes | None:
    """The bytes of a file; None where there is none, or its disk does not give them."""
    try:
        return content(path)
    except PermissionError:
        raise
    except OSError:
        return None


def served_size(path: str) -> int:
    """Of a file that everybody may read; -1 where there is none such."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return status.st_size if status.st_mode == stat.S_IFREG | 0o644 else -1


def contents_of(targets: Targets, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        path = targets.served(name)
        if not os.path.islink(path) and (data := readable_content(path)) is not None:
            yield name, data


def mode_of(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- what boot files say

_NAMED = re.compile(rb"(?<![\w.-])([A-Za-z0-9][\w.-]*-[0-9a-f]{12})(?![\w.-])")


def named(data: bytes) -> set[str]:
    """The releases and site data that a boot file names."""
    return {word.decode() for word in _NAMED.findall(data)}


def is_id(text: str) -> bool:
    """Is that the name of a release or of site data, and nothing else?"""
    return bool(_NAMED.fullmatch(text.encode()))


def current(files: Mapping[str, bytes], image: str) -> str | None:
    """The release that `image` boots, by its boot files; None where there is none."""
    for name, data in sorted(files.items()):
        if name.startswith(f"{BOOT_FILES}{image}."):
            for id in sorted(named(data)):
                if id.rpartition("-")[0] == image:
                    return id
    return None


def site_named(files: Mapping[str, bytes]) -> str | None:
    """The site data that boot files name."""
    names = {
        id for name, data in files.items() if name.startswith(BOOT_FILES) for id in named(data)
    }
    return next((id for id in sorted(names) if id.startswith("site-")), None)


def read_files(targets: Targets) -> dict[str, bytes]:
    """The boot files of a server, by their names below tftp_root."""
    try:
        names = sorted(os.listdir(targets.served(BOOT_FILES)))
    except FileNotFoundError:
        return {}
    files = [BOOT_FILES + name for name in names]
    return dict(
        contents_of(targets, [name for name in files if os.path.isfile(targets.served(name))])
    )
