"""Packages: what a root has installed, by its own data base, and how two roots differ in that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..tree.model import Tree


Known = dict[str, str]  # name -> version, several by commas

_DATABASE = re.compile(
    rb"(?:var|var\.ro)/lib/dpkg/status"
    rb"|(?:usr/lib/sysimage|var/lib|var\.ro/lib)/rpm/(?:Packages(?:\.db)?|rpmdb\.sqlite)"
)
_STATUS = ("var/lib/dpkg/status", "var.ro/lib/dpkg/status")
_RPM = ("usr/lib/sysimage/rpm", "var/lib/rpm", "var.ro/lib/rpm")
# A query of rpm makes files that are not there (indices, locks), so it gets a copy
_QUERY = ["-qa", "--queryformat", r"%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n"]
_LIMIT = 120  # seconds

_FIELD = re.compile(r"^(Package|Status|Version): *(.*)$", re.MULTILINE)


def may_differ(before: Tree, after: Tree) -> bool:
    """Whether a data base of packages is among what differs in two trees."""
    for path in filter(_DATABASE.fullmatch, before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or old.digest != new.digest:
            return True
    return False


def packages_of(root: str) -> Known | None:
    """What is installed in a root: by dpkg's file, or by the program rpm, where that is here."""
    for name in _STATUS:
        if path := _inside(root, name):
            with open(path, encoding="utf-8", errors="replace") as file:
                return _by_name(_installed(file.read()))
    for name in _RPM:
        folder = _inside(root, name)
        if folder and os.listdir(folder):
            return _by_rpm(folder)
    return None


def _inside(root: str, name: str) -> str:
    """A path of a root, if it is there, and no link leads out."""
    path = os.path.realpath(os.path.join(root, name))
    is_inside = path.startswith(os.path.realpath(root) + os.sep)
    return path if is_inside and os.path.exists(path) else ""


def _installed(status: str) -> Iterator[tuple[str, str]]:
    """Name and version of each package that dpkg's file says is installed."""
    for stanza in status.split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        if fields.get("Status", "").endswith(" installed") and "Version" in fields:
            yield fields["Package"], fields["Version"]


def _by_name(found: Iterable[tuple[str, str]]) -> Known:
    """The versions of each name: of several architectures, or of kernels side by side."""
    versions: dict[str, set[str]] = {}
    for name, version in found:
        versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(each)) for name, each in sorted(versions.items())}


def _by_rpm(folder: str) -> Known | None:
    program = shutil.which("rpm")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="plugnode-") as copy:
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False) and not entry.name.startswith("__db"):
                shutil.copyfile(entry.path, os.path.join(copy, entry.name))
        argv = [program, "--dbpath", copy, *_QUERY]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=_LIMIT, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
    lines = done.stdout.decode(errors="replace").splitlines()
    return _by_name(_pair(line) for line in lines) or None


def _pair(line: str) -> tuple[str, str]:
    name, _, version = line.partition("\t")
    return name, version


def compare_packages(before: Known | None, after: Known | None) -> dict[str, Any] | None:
    """`added` and `removed`: name -> version; `changed`: name -> both. None: not known."""
    if before is None or after is None:
        return None
    changed = {}
    for name, version in before.items():
        if after.get(name, version) != version:
            changed[name] = [version, after[name]]
    return {
        "added": _without(after, before),
        "removed": _without(before, after),
        "changed": changed,
    }


def _without(packages: Mapping[str, str], others: Collection[str]) -> dict[str, str]:
    return {name: version for name, version in packages.items() if name not in others}
