"""The kernel of an image: the newest of the reference that has modules, or the one that is named."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from ..base.errors import BadInput
from ..tree.model import DIR, FILE, Tree, read_content, resolve, under

PREFIX = b"boot/vmlinuz-"
SKIP = re.compile(r"rescue|debug|kdump|xen")  # kernels that "the newest" never means


class Kernel(NamedTuple):
    version: str  # "2.6.18-194.el5", as `uname -r` says it
    path: bytes  # of the kernel itself, in the tree
    modules: bytes  # the folder of its modules, in the tree


def choose(tree: Tree, wanted: str, where: str = "site.yaml") -> Kernel:
    """The kernel that `kernel:` of an image means: "auto" or a version. Raises BadInput at `where`."""
    try:
        return _newest(tree) if wanted == "auto" else _named(tree, wanted)
    except ValueError as error:
        raise BadInput.about(("kernel",), where, f"kernel: {error}") from None


def _newest(tree: Tree) -> Kernel:
    """Newest first: the first that can run an x86 machine and has modules; else what is wrong with each."""
    versions = [version for version in installed(tree) if not SKIP.search(version)]
    if not versions:
        raise ValueError(
            "no boot/vmlinuz-* in the reference; install a kernel there, or name one with `kernel:`"
        )
    problems = []
    for version in reversed(versions):
        try:
            return _named(tree, version)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def _named(tree: Tree, version: str) -> Kernel:
    path = resolve(tree, PREFIX + version.encode())
    entry = tree.get(path)
    if entry is None or entry.type != FILE:
        raise ValueError(
            f"no such file: boot/vmlinuz-{version}{_nearest(version, installed(tree))}"
        )
    inside = release_of(read_content(entry), f"boot/vmlinuz-{version}")
    modules = resolve(tree, b"lib/modules/" + version.encode())
    if inside != version:
        raise ValueError(
            f"boot/vmlinuz-{version} is kernel {inside} inside, modules are for {version}; rename it"
        )
    if tree.get(modules) is None or tree[modules].type != DIR:
        others = modules_installed(tree)
        have = f"modules for {', '.join(others)}" if others else "no modules at all"
        raise ValueError(
            f"kernel is {version}, but the reference has {have}; install lib/modules/{version}"
        )
    return Kernel(version, path, modules)


def _nearest(version: str, others: list[str]) -> str:
    close = difflib.get_close_matches(version, others, 1, 0.4)
    return f" - nearest: {close[0]}" if close else " (the reference has none)" if not others else ""


def installed(tree: Tree) -> list[str]:
    """Versions of the kernels in /boot, oldest first."""
    folder = resolve(tree, b"boot")
    names = {path[len(folder) + 1 :] for path in under(tree, folder)}
    versions = {
        name[len(b"vmlinuz-") :].decode(errors="replace")
        for name in names
        if name.startswith(b"vmlinuz-")
    }
    return sorted((version for version in versions if "/" not in version), key=order)


def modules_installed(tree: Tree) -> list[str]:
    """Versions that have modules, oldest first."""
    folder = resolve(tree, b"lib/modules")
    names = {path[len(folder) + 1 :].decode(errors="replace") for path in under(tree, folder)}
    return sorted((name for name in names if "/" not in name), key=order)


def order(version: str) -> list[tuple[int, int, str]]:
    """Key that sorts versions by age, as rpmvercmp does: 5.9 < 5.10, 6.1-rc3 < 6.1 < 6.1.1, 194.el5 < 194.8.1.el5."""
    end = (1, 0, "")
    parts: list[tuple[int, int, str]] = []
    for part in re.findall(r"\d+|[A-Za-z]+", version):
        parts.append(
            (3, int(part), "") if part.isdigit() else (0, 0, "") if part == "rc" else (2, 0, part)
        )
    return [*parts, end]


def release_of(data: bytes, name: str) -> str:
    """The version inside an x86 kernel (Documentation/arch/x86/boot.rst). Raises ValueError."""
    if not data:
        raise ValueError(f"{name} is empty")
    if data[0x202:0x206] != b"HdrS":
        raise ValueError(f"{name} is not an x86 kernel (no HdrS at 0x202)")
    start = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
    text = data[start : start + 256].split(b"\0")[0].split(b" ")[0]
    if start == 0x200 or not text:
        raise ValueError(f"{name} does not say its version")
    return text.decode(errors="replace")
