"""The kernel of an image: the reference's newest that has modules, or the one that is named."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from ..archive import kernels
from ..base.errors import BadInput
from ..base.boot_programs import AMD64
from ..tree.model import DIR, FILE, Tree, read_content, resolve, under

VMLINUZ = "vmlinuz-"
SKIP = re.compile(r"rescue|debug|kdump|xen")  # kernels that "the newest" never means


class Kernel(NamedTuple):
    version: str  # "2.6.18-194.el5", as `uname -r` says it
    path: bytes  # of the kernel itself, in the tree
    modules: bytes  # the folder of its modules, in the tree


def choose(tree: Tree, named: str, where: str = "site.yaml", arch: str = AMD64) -> Kernel:
    """The kernel that `kernel:` of an image means: "auto" or a version.

    Raises BadInput at `where`.
    """
    try:
        return _newest(tree, arch) if named == "auto" else _of_version(tree, named, arch)
    except ValueError as error:
        raise BadInput.about(("kernel",), where, f"kernel: {error}") from None


def _newest(tree: Tree, arch: str) -> Kernel:
    """The newest that is for these processors and has modules.

    Raises ValueError with what is wrong with each.
    """
    versions = [version for version in installed(tree) if not SKIP.search(version)]
    if not versions:
        remedy = "install a kernel there, or name one with `kernel:`"
        raise ValueError(f"no boot/vmlinuz-* in the reference; {remedy}")
    problems = []
    for version in reversed(versions):
        try:
            return _of_version(tree, version, arch)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def _of_version(tree: Tree, version: str, arch: str) -> Kernel:
    path = resolve(tree, f"boot/{VMLINUZ}{version}".encode())
    entry = tree.get(path)
    if entry is None or entry.type != FILE:
        nearest = _nearest(version, installed(tree))
        raise ValueError(f"no such file: boot/vmlinuz-{version}{nearest}")
    inside = release_of(read_content(entry), f"boot/vmlinuz-{version}", arch)
    modules = resolve(tree, b"lib/modules/" + version.encode())
    if inside != version:
        what = f"boot/vmlinuz-{version} is kernel {inside} inside"
        raise ValueError(f"{what}, modules are for {version}; rename it")
    if tree.get(modules) is None or tree[modules].type != DIR:
        others = modules_installed(tree)
        have = f"modules for {', '.join(others)}" if others else "no modules at all"
        what = f"kernel is {version}, but the reference has {have}"
        raise ValueError(f"{what}; install lib/modules/{version}")
    return Kernel(version, path, modules)


def _nearest(version: str, others: list[str]) -> str:
    if not others:
        return " (the reference has none)"
    close = difflib.get_close_matches(version, others, 1, 0.4)
    return f" - nearest: {close[0]}" if close else ""


def installed(tree: Tree) -> list[str]:
    """Versions of the kernels in /boot, oldest first."""
    names = _names_in(tree, b"boot")
    kernels = [name for name in names if name.startswith(VMLINUZ)]
    return sorted({name.removeprefix(VMLINUZ) for name in kernels}, key=version_key)


def modules_installed(tree: Tree) -> list[str]:
    """Versions that have modules, oldest first."""
    return sorted(_names_in(tree, b"lib/modules"), key=version_key)


def _names_in(tree: Tree, folder: bytes) -> set[str]:
    """What lies in a folder, and not below one of its own."""
    place = resolve(tree, folder)
    names = {path[len(place) + 1 :].decode(errors="replace") for path in under(tree, place)}
    return {name for name in names if "/" not in name}


VersionPart = tuple[int, int, str]
END: VersionPart = (1, 0, "")


def version_key(version: str) -> list[VersionPart]:
    """What versions are sorted by, as rpmvercmp does.

    5.9 < 5.10, 6.1-rc3 < 6.1 < 6.1.1, 194.el5 < 194.8.1.el5.
    """
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return [*map(_part_key, parts), END]


def _part_key(part: str) -> VersionPart:
    if part.isdigit():
        return (3, int(part), "")
    return (0, 0, "") if part == "rc" else (2, 0, part)


def release_of(data: bytes, name: str, arch: str = AMD64) -> str:
    """The version inside a kernel for these processors. Raises ValueError."""
    if not data:
        raise ValueError(f"{name} is empty")
    found = kernels.architecture(data)
    if not found and arch == AMD64:
        raise ValueError(f"{name} is not an x86 kernel (no HdrS at 0x202)")
    if found != arch:
        what = f"a kernel for {found}" if found else "no kernel"
        raise ValueError(f"{name} is {what}, and the image has `arch: {arch}`")
    return kernels.version(data, name)
