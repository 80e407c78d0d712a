"""The `init` of a nash image (mkinitrd of EL4 and EL5): its preparation of the disk's root becomes a network root.

nash runs one command a line and has no variables, conditions or loops (nash(8)), so the lines that mkinitrd writes for
the disk are taken out and a shell script is called instead. Every other line stays as it is.
"""

from __future__ import annotations

import re

from ..base.errors import BadInput
from ..tree.model import read_content, resolve, symlink
from . import busybox
from .base_image import NASH_MARK, BaseImage
from .content import (
    BuiltInitrd,
    Recipe,
    file_entry,
    finish_image,
    module_set,
    put_entry,
    put_network_root,
    script_of,
    version_numbers,
)
from .modules import name_of

NASH_CALL = "/bin/busybox sh /nash-root"
PREPARING = re.compile(
    r"""\s*(?:
      (?:lvm|dmraid|dm|rmparts|kpartx|multipath|resume|mkrootdev|raidautorun|mkdmnod|cryptsetup|network)(?:\s|$)
    | (?:/(?:s?bin|usr/s?bin)/)?(?:lvm|dmraid|kpartx|multipath|cryptsetup)(?:\.static)?\s
    | echo\s+["']?(?:
        Scanning\ and\ configuring\ dmraid\ supported\ devices | Scanning\ logical\ volumes
      | Activating\ logical\ volumes | Making\ device-mapper\ control\ node | Making\ device\ nodes
      | Trying\ to\ resume\ from | Resuming\ from | Creating\ root\ device | Mounting\ root\ file\s?system
      | Creating\ multipath\ devices | Setting\ up\ disk\ encryption | Bringing\ up
      )
    )""",
    re.VERBOSE,
)  # what mkinitrd 4.2 and 5.1 write between the last driver and `mount /sysroot`
ROOT_DEVICE = re.compile(r"\s*mkrootdev(\s|$)")
ROOT_MOUNT = re.compile(r"\s*mount\s+(?:\S+\s+)*/sysroot\s*$")
LOOKED_FOR = "`mkrootdev …` followed by `mount … /sysroot`, as mkinitrd writes them"


def loaded(init: str) -> list[str]:
    """Paths of the modules that it loads, in order."""
    return re.findall(r"(?m)^\s*insmod\s+(\S+\.ko)\b", init)


def patch(init: bytes, name: str, modules: list[str], call: str) -> bytes:
    """`init` with its disk root replaced: loads `modules` (paths in the image), then runs `call`.

    Raises BadInput with `name`, which says what was looked for.
    """
    text = init.decode("latin-1")
    lines = text.splitlines(keepends=True)
    first, last = _block(lines, name)
    before, block, after = lines[:first], lines[first : last + 1], lines[last + 1 :]
    kept = [line for line in block if not PREPARING.match(line) and not ROOT_MOUNT.match(line)]
    return "".join([*before, *kept, *_network_root(modules, call), *after]).encode("latin-1")


def _block(lines: list[str], name: str) -> tuple[int, int]:
    """First and last line of what prepares and mounts the disk's root."""
    if any(NASH_MARK in line for line in lines):
        raise BadInput.at(
            name, "already has Plugnode's network root; give the distribution's own image"
        )
    devices = [at for at, line in enumerate(lines) if ROOT_DEVICE.match(line)]
    mounts = [at for at, line in enumerate(lines) if ROOT_MOUNT.match(line)]
    if not devices or not mounts or devices[0] > mounts[-1]:
        raise BadInput.at(name, f"no place for the network root: looked for {LOOKED_FOR}")
    for places in devices, mounts:
        if len(places) > 1:
            what = lines[places[1]].strip()
            message = f"the root is mounted {len(places)} times (`{what}` again): looked for one {LOOKED_FOR}"
            raise BadInput.at(name, message, places[1] + 1)
    return next(at for at, line in enumerate(lines) if PREPARING.match(line)), mounts[0]


def _network_root(modules: list[str], call: str) -> list[str]:
    """Lines in mkinitrd's own manner."""
    lines = [f"echo {NASH_MARK}\n"]
    for path in modules:
        lines += [f'echo "Loading {path.rpartition("/")[2]} module"\n', f"insmod {path}\n"]
    return [*lines, f"{call}\n"]


def make_nash(order: Recipe, base: BaseImage | None) -> BuiltInitrd:
    """The distribution's image of EL4 or EL5, its disk root replaced."""
    assert base
    tree, init = (
        dict(base.image.tree),
        read_content(base.image.tree[resolve(base.image.tree, b"init")]),
    )
    already = loaded(init.decode("latin-1"))
    wanted = module_set(order, already)
    program, _ = busybox.pick(
        order.tree, order.image.initrd.busybox, wanted.machine, busybox.NETWORK_ROOT, order.where
    )
    before = set(map(name_of, already))
    new = {name: data for name, data in wanted.files.items() if name_of(name) not in before}
    put_network_root(tree, order, program, wanted)
    put_entry(tree, "nash-root", file_entry(script_of(order.folders, "nash-root"), 0o755))
    for applet in busybox.NETWORK_ROOT:
        put_entry(tree, f"plugnode-tools/{applet}", symlink(b"/bin/busybox"))
    for name, data in new.items():
        put_entry(tree, f"lib/{name}", file_entry(data))
    patched = patch(init, f"{base.name}/init", [f"/lib/{name}" for name in new], NASH_CALL)
    tree[resolve(tree, b"init")] = file_entry(patched, 0o755)
    return finish_image(
        order, "nash", base.name, base.image.early, tree, wanted, too_old_note(order, program)
    )


def too_old_note(order: Recipe, program: bytes) -> list[str]:
    """A note where this busybox cannot mount NFS on this kernel."""
    if version_numbers(order.kernel.version) >= (2, 6, 23) or busybox.mounts_nfs_itself(program):
        return []
    what = f"kernel {order.kernel.version} takes NFS options in binary only, and this busybox's mount makes none"
    do = "give the busybox of that distribution (EL5: yum install busybox) by `initrd: {busybox: PATH}`"
    return [f"{order.image.name}: {what}; {do}"]
