"""A staged root shown to a program as its manifest says, by fakeroot(1), whoever staged it.

Owners, modes and devices are what fakeroot is told in its own form, by inode: what `-s` writes and
`-i` reads. Attributes are set below it, in its memory alone.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from ..base.errors import Refused
from ..base.files import read
from ..base.programs import find_program
from ..base.text import shown_path
from ..checkout.staged import StagedPaths
from ..tree.model import TYPES, Entry, Tree
from ..tree.xattrs import Attributes, parse_xattrs

KINDS = {name: bits for bits, name in TYPES.items()}
MOST = 1024  # bytes that fakeroot passes on at once: a name and its value, or all names of a file
REMEDY = "run doit as root, or `exclude` it"
# In a folder of its own, for fakeroot's shell reads the name after -i as code; what would end that
# shell, but for an interrupt, would leave its daemon for ever
SHOWN = """
trap '' HUP TERM
cd "$1"
shift
exec "$1" -i state -- sh -ec 'cd "$2"; "$1" -h --restore="$3/xattrs"; shift 3; exec "$@"' "$@"
"""


@contextlib.contextmanager
def as_said(staged: StagedPaths, tree: Tree) -> Iterator[list[str]]:
    """Give the words before a program to which the staged root is what its manifest says.

    `tree` is that manifest. The program's own files must have absolute names. Raises Refused where
    fakeroot is missing, or cannot hold an attribute.
    """
    xattrs = read(staged.xattrs)
    for path, attributes in parse_xattrs(xattrs).items():
        if not fits(attributes):
            what = f"attributes of more than {MOST} bytes, which fakeroot cannot hold"
            raise Refused(f"/{shown_path(path)}: {what}; {REMEDY}")
    fakeroot, setfattr = _programs()
    with tempfile.TemporaryDirectory(prefix="plugnode-faked-") as folder:
        with open(os.path.join(folder, "state"), "w", encoding="ascii") as file:
            file.writelines(_state(tree, os.fsencode(staged.folder)))
        with open(os.path.join(folder, "xattrs"), "wb") as dump:
            dump.writelines(_newest_last(xattrs))
        root = os.path.abspath(staged.folder)
        yield ["sh", "-ec", SHOWN, "sh", folder, fakeroot, setfattr, root, folder]


def is_as_said(staged: StagedPaths) -> bool:
    """Does root see in a root that it staged nothing but what the manifest says?

    Where a file has several attributes, their order is the file system's; and machines with SELinux
    have labels of their own on all that they hold.
    """
    said = parse_xattrs(read(staged.xattrs))
    if not all(map(fits, said.values())):
        return True  # it cannot be shown
    own = {name for name, _ in said.get(b"", ())}
    several = any(len(attributes) > 1 for attributes in said.values())
    return not several and set(os.listxattr(staged.folder)) <= own


def fits(attributes: Attributes) -> bool:
    names = sum(len(os.fsencode(name)) + 1 for name, _ in attributes)
    pairs = (len(os.fsencode(name)) + 1 + len(value) for name, value in attributes)
    return max(names, *pairs, 0) <= MOST


def _programs() -> Iterator[str]:
    for name, package in {"fakeroot": "fakeroot", "setfattr": "attr"}.items():
        place = find_program(name)
        if place is None:
            raise Refused(f"{name} is not installed; install {package}, or run doit as root")
        yield place


def _newest_last(dump: bytes) -> Iterator[bytes]:
    """Each file's attributes backwards: fakeroot lists first what was set last."""
    for record in dump.split(b"\n\n")[:-1]:
        file, *attributes = record.split(b"\n")
        yield b"\n".join([file, *reversed(attributes)]) + b"\n\n"


def _state(tree: Tree, root: bytes) -> Iterator[str]:
    for path, entry in tree.items():
        yield _line(os.lstat(os.path.join(root, path)), entry)


def _line(found: os.stat_result, entry: Entry) -> str:
    file = f"dev={found.st_dev:x},ino={found.st_ino}"
    rights = f"mode={KINDS[entry.type] | entry.mode:o},uid={entry.uid},gid={entry.gid}"
    device = os.makedev(*entry.device) if entry.device else 0
    return f"{file},{rights},nlink={found.st_nlink},rdev={device}\n"
