"""What a deploy of one image does to a server that may hold others.

Site data, and all that goes by nodes, is everybody's and goes whole. The other images stay at the
releases that the server boots, with the new site data. Nothing is removed because it was not named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from ..release import ID_END, Release
from ..store.boot_files import current
from ..store.paths import BOOT_FILES
from .state import BuiltRelease, Desired

# Release, label, site id -> its boot files
Render = Callable[[Release, str, str], Mapping[str, bytes]]

_ID = re.compile(f"(.+){ID_END}")
_LEADS = re.compile(rb"(?m)plugnode/([\w.-]+)\.(?:cfg|grub)$|^set plugnode ([\w.-]+)$")
# How a node's own file goes on to that of its group
_MEMBER = re.compile(rb"(?m)^(?:INCLUDE |source /|chain --autofree )([\w.+@/-]+)$")


def label_of(name: str) -> str:
    """What a boot file is of, an image or a release that nodes are pinned to.

    "" of any other file.
    """
    if not name.startswith(BOOT_FILES):
        return ""
    folder, slash, _ = name[len(BOOT_FILES) :].partition("/")
    return folder if slash else folder.rpartition(".")[0]


def image_of(label: str) -> str:
    """The image that a label is, or is a release of."""
    found = _ID.fullmatch(label)
    return found[1] if found else label


def only(
    desired: Desired,
    image: str,
    files: Mapping[str, bytes],
    released: Mapping[str, Release],
    render: Render,
) -> Desired:
    """Of what is desired, what a deploy of one image does to a server.

    `files`: the boot files there that an earlier deploy wrote. `released`: the releases there.
    """
    new = _without_others(desired, image)
    limited = _limited(desired, image)
    left = set(limited.left)
    labels = _labels(files) - _labels(new)
    for label in sorted(label for label in labels if image_of(label) != image):
        release = released.get(label) or released.get(current(files, label) or "")
        if release:
            new |= render(release, label, desired.site_id)
        else:
            left |= {name for name in files if label_of(name) == label}
    astray = _astray(new, _labels(new) | _labels(left))
    for name in astray:
        del new[name]
    return dataclasses.replace(limited, files=new, left=frozenset(left | astray))


def _limited(desired: Desired, image: str) -> Desired:
    """The releases of an image alone; loaders of its own and everybody's, others stay."""
    loaders = _loaders_for(desired, image)
    return dataclasses.replace(
        desired,
        image=image,
        releases=_releases_of(desired, image),
        loaders=loaders,
        left=frozenset(desired.loaders.keys() - loaders.keys()),
    )


def _loaders_for(desired: Desired, image: str) -> dict[str, str]:
    """The loaders but for those that are another image's alone."""
    loaders = desired.loaders.items()
    return {name: path for name, path in loaders if image_of(label_of(name)) in ("", image)}


def _releases_of(desired: Desired, image: str) -> tuple[BuiltRelease, ...]:
    return tuple(built for built in desired.releases if built.release.image == image)


def _without_others(desired: Desired, image: str) -> dict[str, bytes]:
    """The files but for boot files of other images."""
    others = {built.release.image for built in desired.releases}
    others.discard(image)
    files = desired.files.items()
    return {name: data for name, data in files if label_of(name) not in others}


def _labels(names: Iterable[str]) -> set[str]:
    """What boot files are of, all of them together."""
    return set(map(label_of, names)) - {""}


def _astray(files: Mapping[str, bytes], labels: set[str]) -> set[str]:
    """The files that lead to what is not there.

    Who reads them now boots as before until that is deployed, too.
    """
    loaders = {name: data for name, data in files.items() if not label_of(name)}
    astray = set()
    for name, data in loaders.items():
        if not _leads(data) <= labels:
            astray.add(name)
    behind = set()
    for name, data in loaders.items():
        if not astray.isdisjoint(_files_of(data)):
            behind.add(name)
    return astray | behind


def _files_of(data: bytes) -> set[str]:
    """The loader's files that a file goes on to."""
    return {name.decode() for name in _MEMBER.findall(data)}


def _leads(data: bytes) -> set[str]:
    """The labels that a loader's file goes on to."""
    labels = set()
    for included, called in _LEADS.findall(data):
        labels.add((included or called).decode())
    return labels
