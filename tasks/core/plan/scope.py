"""Scope: what a deploy of one image wants of a server that may hold others.

Site data, and all that goes by nodes, is everybody's and goes whole. The other images stay at the releases that the
server boots, with the new site data. Nothing is removed because it was not named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from ..release import Release
from ..store.boot_files import current
from ..store.paths import BOOT_FILES
from .state import Desired

Render = Callable[
    [Release, str, str], Mapping[str, bytes]
]  # release, label, site id -> its boot files

_ID = re.compile(r"(.+)-[0-9a-f]{12}")
_LEADS = re.compile(rb"(?m)plugnode/([\w.-]+)\.(?:cfg|grub)$|^set plugnode ([\w.-]+)$")


def label_of(name: str) -> str:
    """What a boot file is of, an image or a release that nodes are pinned to; "" of any other file."""
    return name[len(BOOT_FILES) :].rpartition(".")[0] if name.startswith(BOOT_FILES) else ""


def image_of(label: str) -> str:
    """The image that a label is, or is a release of."""
    found = _ID.fullmatch(label)
    return found[1] if found else label


def only(
    wanted: Desired,
    image: str,
    files: Mapping[str, bytes],
    released: Mapping[str, Release],
    render: Render,
) -> Desired:
    """Of what is wanted, what a deploy of one image does to a server.

    `files`: the boot files there that an earlier deploy wrote. `released`: the releases there.
    """
    others = {built.release.image for built in wanted.releases} - {image}
    new = {name: data for name, data in wanted.files.items() if label_of(name) not in others}
    left = set[str]()
    for label in sorted(_labels(files) - _labels(new)):
        id = label if label in released else current(files, label)
        if image_of(label) == image:
            continue
        if id and id in released:
            new |= render(released[id], label, wanted.site_id)
        else:
            left |= {name for name in files if label_of(name) == label}
    astray = _astray(new, _labels(new) | _labels(left))
    return dataclasses.replace(
        wanted,
        image=image,
        releases=tuple(built for built in wanted.releases if built.release.image == image),
        files={name: data for name, data in new.items() if name not in astray},
        left=frozenset(left | astray),
    )


def _labels(names: Iterable[str]) -> set[str]:
    return set(map(label_of, names)) - {""}


def _astray(files: Mapping[str, bytes], labels: set[str]) -> set[str]:
    """The files that lead to what is not there: who reads them now boots as before until that is deployed, too."""
    return {
        name for name, data in files.items() if not label_of(name) and not _leads(data) <= labels
    }


def _leads(data: bytes) -> set[str]:
    """The labels that a loader's file goes on to."""
    return {(first or second).decode() for first, second in _LEADS.findall(data)}
