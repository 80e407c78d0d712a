"""Making a root file: a file system by mkfs.erofs or mksquashfs, then its hashes by veritysetup.

The same root makes the same bytes: identities are fixed, and files have no times. (The programs'
versions are part of that, as a compressor's is.)
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..base.errors import Refused
from ..base.files import digest_file
from ..base.process import Program
from ..base.programs import find_program
from ..base.text import show_path

UUID = "706c7567-6e6f-6465-8000-726f6f740001"  # "plugnode", "root"; no node mounts by it
PACKAGES = {
    "mkfs.erofs": "erofs-utils",
    "mksquashfs": "squashfs-tools",
    "veritysetup": "cryptsetup-bin, on EL veritysetup",
}
WORK = ".root-file-"
LONGEST = 255  # bytes of a file's name: linux/limits.h
BLOCK = 4096  # bytes, of both
LARGE_CLUSTERS = (5, 13)  # the first kernel whose EROFS reads more than a block at once
ZSTD = (4, 14)  # the first kernel whose squashfs reads it
_ROOT_HASH = re.compile(r"^Root hash:\s*([0-9a-f]{64})$", re.MULTILINE)
ACLS = re.compile(rb"^system\.posix_acl_\w+=", re.MULTILINE)


class MadeRootFile(NamedTuple):
    """A root file, as `build/<image>/root_file.json` has it."""

    file_system: str  # "erofs" | "squashfs"
    sha256: str
    bytes: int  # of all of it
    verity: str  # the root hash of its dm-verity tree
    verity_blocks: int  # how many blocks of the file are checked by it: the tree follows them
    left_out: int  # folders and files of the root that it has not

    @property
    def name(self) -> str:
        return f"root.{self.file_system}"


class Wanted(NamedTuple):
    """Which file to make."""

    file_system: str
    kernel_version: tuple[int, ...]
    left_out: list[bytes]  # paths of the root


def make_root_file(
    root: str, folder: str, wanted: Wanted, shown: Sequence[str] = ()
) -> MadeRootFile:
    """Make `folder`/root.erofs, or root.squashfs, of the folder `root`.

    `shown` are words before the program that reads the root (`faked.as_said`). Raises Refused
    where a program is missing or fails.
    """
    root, folder = map(os.path.abspath, (root, folder))
    for left in pathlib.Path(folder).glob(f"{WORK}*"):  # by a build that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=WORK, dir=folder) as work:
        file = os.path.join(work, "file")
        try:
            _run(_COMMANDS[wanted.file_system](root, file, wanted), shown)
        except Refused as error:
            raise Refused(f"{error}{_cut_name(root)}") from None
        made = _with_verity(file, wanted)
        os.chmod(file, 0o644)
        os.replace(file, os.path.join(folder, made.name))
    return made


def _cut_name(root: str) -> str:
    """What to say of a name that mkfs.erofs 1.5 cuts, and then does not find."""
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in (*folders, *files):
            if len(name) == LONGEST:
                place = os.path.relpath(os.path.join(folder, name), os.fsencode(root))
                return f"; a name of {LONGEST} bytes may be too long for it: {show_path(place)}"
    return ""


def _with_verity(file: str, wanted: Wanted) -> MadeRootFile:
    """Put a file system's hashes behind it; give what is there then."""
    blocks = -(-os.path.getsize(file) // BLOCK)
    os.truncate(file, blocks * BLOCK)
    verity = _root_hash(_run(_verity(file, blocks)))
    return MadeRootFile(
        wanted.file_system,
        digest_file(file),
        os.path.getsize(file),
        verity,
        blocks,
        len(wanted.left_out),
    )


def _erofs(root: str, file: str, wanted: Wanted) -> list[str]:
    """mkfs.erofs(1). lz4 is what every kernel's EROFS reads.

    A node of nfs-file makes fewer calls with clusters of 80 KiB than of 64, and reads less than
    with 128.
    """
    clusters = ["-C81920"] if wanted.kernel_version >= LARGE_CLUSTERS else []
    left_out = [f"--exclude-path={os.fsdecode(path)}" for path in wanted.left_out]
    return ["mkfs.erofs", "--quiet", "-zlz4", *clusters, "-T0", f"-U{UUID}", *left_out, file, root]


def _squashfs(root: str, file: str, wanted: Wanted) -> list[str]:
    """mksquashfs(1); `-wildcards` is not said: names are names."""
    how = "zstd" if wanted.kernel_version >= ZSTD else "gzip"
    quiet = ["-noappend", "-no-progress", "-quiet"]
    left_out = ["-e", *map(os.fsdecode, wanted.left_out)] if wanted.left_out else []
    return [
        *("mksquashfs", root, file, "-comp", how, "-all-time", "0", "-mkfs-time", "0"),
        *quiet,
        *left_out,
    ]


_COMMANDS = {"erofs": _erofs, "squashfs": _squashfs}


def _verity(file: str, blocks: int) -> list[str]:
    """veritysetup(8), which writes its superblock and tree behind what they are about."""
    fixed = [f"--uuid={UUID}", "--salt=-", "--hash=sha256"]
    sizes = [f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}"]
    place = [f"--data-blocks={blocks}", f"--hash-offset={blocks * BLOCK}"]
    return ["veritysetup", "format", *fixed, *sizes, *place, file, file]


def _run(argv: list[str], before: Sequence[str] = ()) -> str:
    """What a program said. Raises Refused."""
    name, *words = argv
    place = find_program(name)
    if place is None:
        raise Refused(f"{name} is not installed; install {PACKAGES[name]}")
    program = Program([*before, place, *words], ending="INT")  # which fakeroot's shell heeds
    said = list(_said(program))
    if program.status:
        last = " | ".join(said[-3:]) or f"exit status {program.status}"
        raise Refused(f"{name} makes no root file: {last}")
    return "\n".join(said)


def _said(program: Program) -> Iterator[str]:
    for line in program.lines():
        if line.strip():
            yield line.strip()


def _root_hash(said: str) -> str:
    found = _ROOT_HASH.search(said)
    if found is None:
        raise Refused(f"veritysetup told no root hash: {said[-300:]}")
    return found[1]


def lost_acls(xattrs: bytes, file_system: str) -> int:
    """How many ACLs of a root (its root.xattrs) a file system would lose: squashfs keeps none."""
    return 0 if file_system == "erofs" else len(ACLS.findall(xattrs))
