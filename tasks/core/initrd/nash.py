"""Images of nash (mkinitrd of EL4 and EL5): what prepares the disk's root becomes a network root.

nash runs one command a line and has no variables, conditions or loops (nash(8)), so the lines that
mkinitrd writes for the disk are taken out of `init` and a shell script is called instead. Every
other line stays as it is.
"""

from __future__ import annotations

import re

from ..base.errors import BadInput
from ..tree.model import Tree, read_content, resolve, symlink
from .base_image import BaseImage
from .content import (
    BuiltInitrd,
    Origin,
    Recipe,
    applets_of,
    file_entry,
    finish_image,
    module_set,
    nfs_note,
    pick_busybox,
    put_entry,
    put_network_root,
    script_of,
)
from .kind import InitrdKind
from .modules import name_of

NASH_MARK = "Plugnode network root"
NASH_CALL = "/bin/busybox sh /nash-root"
# What mkinitrd 4.2 and 5.1 write between the last driver and `mount /sysroot`
PREPARING = re.compile(
    r"""\s*(?:
      (?:
        lvm | dmraid | dm | rmparts | kpartx | multipath | resume | mkrootdev | raidautorun
      | mkdmnod | cryptsetup | network
      )(?:\s|$)
    | (?:/(?:s?bin|usr/s?bin)/)?(?:lvm|dmraid|kpartx|multipath|cryptsetup)(?:\.static)?\s
    | echo\s+["']?(?:
        Scanning\ and\ configuring\ dmraid\ supported\ devices | Scanning\ logical\ volumes
      | Activating\ logical\ volumes | Making\ device-mapper\ control\ node
      | Making\ device\ nodes | Trying\ to\ resume\ from | Resuming\ from
      | Creating\ root\ device | Mounting\ root\ file\s?system
      | Creating\ multipath\ devices | Setting\ up\ disk\ encryption | Bringing\ up
      )
    )""",
    re.VERBOSE,
)
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
    kept = []
    for line in lines[first : last + 1]:
        if not PREPARING.match(line) and not ROOT_MOUNT.match(line):
            kept.append(line)
    patched = [*lines[:first], *kept, *_network_root(modules, call), *lines[last + 1 :]]
    return "".join(patched).encode("latin-1")


def _block(lines: list[str], name: str) -> tuple[int, int]:
    """First and last line of what prepares and mounts the disk's root."""
    if any(NASH_MARK in line for line in lines):
        what = "already has Plugnode's network root; give the distribution's own image"
        raise BadInput.at(name, what)
    devices, mounts = _places(lines, ROOT_DEVICE), _places(lines, ROOT_MOUNT)
    if not devices or not mounts or devices[0] > mounts[-1]:
        raise BadInput.at(name, f"no place for the network root: looked for {LOOKED_FOR}")
    for places in devices, mounts:
        if len(places) > 1:
            again = f"mounted {len(places)} times (`{lines[places[1]].strip()}` again)"
            what = f"the root is {again}: looked for one {LOOKED_FOR}"
            raise BadInput.at(name, what, places[1] + 1)
    return _places(lines, PREPARING)[0], mounts[0]


def _places(lines: list[str], pattern: re.Pattern[str]) -> list[int]:
    """Where lines begin with a pattern."""
    return [at for at, line in enumerate(lines) if pattern.match(line)]


def _network_root(modules: list[str], call: str) -> list[str]:
    """Lines in mkinitrd's own manner."""
    lines = [f"echo {NASH_MARK}\n"]
    for path in modules:
        lines += [f'echo "Loading {path.rpartition("/")[2]} module"\n', f"insmod {path}\n"]
    return [*lines, f"{call}\n"]


def make_nash(recipe: Recipe, base: BaseImage | None) -> BuiltInitrd:
    """The distribution's image of EL4 or EL5, its disk root replaced."""
    assert base
    tree = dict(base.image.tree)
    init = read_content(tree[resolve(tree, b"init")])
    already = loaded(init.decode("latin-1"))
    chosen = module_set(recipe, already)
    program, _ = pick_busybox(recipe, chosen.machine, applets_of(recipe.image))

    put_network_root(tree, recipe, program, chosen)
    _put_script(tree, recipe)
    new = _not_among(chosen.files, already)
    for name, data in new.items():
        put_entry(tree, f"lib/{name}", file_entry(data))
    patched = patch(init, f"{base.name}/init", [f"/lib/{name}" for name in new], NASH_CALL)
    tree[resolve(tree, b"init")] = file_entry(patched, 0o755)

    made_from = Origin("nash", base.name, base.image.early)
    return finish_image(recipe, made_from, tree, chosen, nfs_note(recipe, program))


def _put_script(tree: Tree, recipe: Recipe) -> None:
    """What `init` calls, and the applets that it runs."""
    put_entry(tree, "nash-root", file_entry(script_of(recipe.folders, "nash-root"), 0o755))
    for applet in applets_of(recipe.image):
        put_entry(tree, f"plugnode-tools/{applet}", symlink(b"/bin/busybox"))


def _not_among(files: dict[str, bytes], already: list[str]) -> dict[str, bytes]:
    """The modules that an image does not load yet, in whatever spelling."""
    before = set(map(name_of, already))
    return {name: data for name, data in files.items() if name_of(name) not in before}


def is_nash(init: bytes) -> bool:
    """Whether an `init` is run by nash."""
    return re.match(rb"#!\s*\S*/nash\b", init) is not None


NASH = InitrdKind(
    name="nash",
    description="the distribution's, its nash script changed to mount the root over NFS",
    maker="nash (mkinitrd of EL4 and EL5)",
    recognises=lambda tree, init: is_nash(init),
    make=make_nash,
)
