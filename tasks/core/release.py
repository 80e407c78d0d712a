"""Release: what runs on a node, named by what is in it."""

from __future__ import annotations

import builtins
import hashlib
import json
import re
from typing import NamedTuple

NEWER = ("hooks", "keys")  # not written where it is empty
HOOKS_IMG = "hooks.img"
ROOT_FILE_NAMES = frozenset(("root.erofs", "root.squashfs"))  # one of them, where it is a file
HOOKED = ("dracut", "initramfs-tools")  # kinds of initrd that need one
ID_END = r"-[0-9a-f]{12}"  # how the id of a release, or of site data, ends
SITE_DATA = 2  # the form of site data that is built now; scripts of form 1 know no canonical names


class Release(NamedTuple):
    """What `release.json` says.

    `root`, `xattrs`, `initrd` and `kernel` are sha256 digests of those files, hex.
    """

    id: str  # "<image>-<12 hex digits>"
    image: str
    cmdline: str  # the image's own kernel arguments
    root: str
    xattrs: str
    initrd: str
    kernel: str
    kernel_version: str
    network_root: str  # the initrd's kind: "nash" | "own" | "dracut" | "initramfs-tools"
    entries: int  # names in the root
    bytes: int  # of all its files
    site_data: int = SITE_DATA  # the form of site data that its scripts read
    nfs: str = ""  # how its root is mounted: "vers=4.2,nconnect=4"; "" for "vers=3"
    # Where nodes have its root as one file: how (`root:` of its image), that file's name, sha256
    # and size; the root hash of its dm-verity tree, and how many blocks of it that is about
    root_kind: str = "nfs"
    root_name: str = ""
    root_file: str = ""
    root_bytes: int = 0
    verity: str = ""
    verity_blocks: int = 0
    # sha256 of hooks.img, a second archive that its nodes load; "" where its initrd needs none, or
    # it is of a time when site.img brought them
    hooks: str = ""
    # The fingerprints, by commas, of the keys by one of which site data must be signed for its
    # nodes; "" where they ask for no signature
    keys: str = ""

    @property
    def boot_files(self) -> dict[str, str]:
        """What loaders load of it: name -> sha256."""
        files = {"vmlinuz": self.kernel, "initrd.img": self.initrd}
        return {**files, HOOKS_IMG: self.hooks} if self.hooks else files

    @property
    def wants_hooks(self) -> bool:
        """Whether it is of that time, and its initrd needs some."""
        return self.network_root in HOOKED and not self.hooks

    @property
    def is_of_file(self) -> bool:
        """Whether its nodes have the root as one file."""
        return bool(self.root_file)

    @property
    def is_fetched(self) -> bool:
        """Whether they fetch it by HTTP; else they mount the file from the server."""
        return self.is_of_file and self.root_kind != "nfs-file"

    def dump(self) -> builtins.bytes:
        said = self._asdict()
        for name in NEWER:
            if not said[name]:  # as an earlier version wrote it, and signed it
                del said[name]
        return (json.dumps(said, indent=1) + "\n").encode()


def parse_release(data: bytes) -> Release:
    """The release that a `release.json` describes.

    Raises ValueError or TypeError where it is damaged. What a later version says besides is passed
    over.
    """
    said = {"site_data": 1, **json.loads(data)}  # nobody wrote it down before a second form
    release = Release(**{name: said[name] for name in Release._fields if name in said})
    numbers = release.entries, release.bytes, release.root_bytes, release.verity_blocks
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("its numbers are none")
    if not all(isinstance(value, (str, int)) for value in release):
        raise ValueError("its texts are none")
    return release


def id_of(release: Release) -> str:
    """The id that a release has by what it says of itself."""
    parts = (release.root, release.xattrs, release.initrd, release.kernel, release.cmdline)
    return release_id(release.image, *parts, release.nfs, release.root_file, release.hooks)


def release_id(image: str, *parts: str) -> str:
    """The id over `parts`: digests of manifest, xattrs, initrd and kernel, the image's arguments.

    Behind them how its root is mounted, where that is not as it was before one could say it, the
    root file's and hooks.img's, where there is one: empty ones are none.

    Nothing else is in it, neither nodes nor servers nor paths: the same inputs have the same id on
    any machine.
    """
    said = parts[:5] + tuple(filter(None, parts[5:]))
    digest = hashlib.sha256("\0".join(said).encode()).hexdigest()
    return id_by(image, digest)


def id_by(name: str, digest: str) -> str:
    """The id of what a digest names: `worker-0b1c2d3e4f50`, `site-0b1c2d3e4f50`."""
    return f"{name}-{digest[:12]}"


def name_in(id: str) -> str:
    """What an id names besides a digest: the image, or `site`."""
    return id.rpartition("-")[0]


def ends_as_id(name: str) -> bool:
    """Whether a name ends as the id of a release or of site data."""
    return re.search(rf"{ID_END}$", name) is not None
