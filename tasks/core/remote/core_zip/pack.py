"""Pack: makes the zip of what runs on servers, as sources and as this machine's bytecode.

A Python of the same bytecode need not compile them (see bytecode.py); any other takes the sources.
It travels with each command: a server keeps no code that somebody there could change.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import zipfile
from collections.abc import Iterator, Mapping

import ClusterShell

from ...base.files import REPOSITORY, content, read, write_atomic
from . import bytecode

PACKAGES = (  # of tasks.core: all that runs here
    "base",
    "release",
    "site_data",
    "tree",
    "scan",
    "archive",
    "checkout",
    "store",
    "trust",
    "dhcp",
    "services",
    "plan",
    "deploy",
    "history",
    "inspect",
    "remote",
)
LIBRARY = ("__init__", "NodeSet", "RangeSet", "NodeUtils", "Defaults")  # of ClusterShell


def core_zip(kept: str) -> bytes:
    """The agent's packages as a zip, and of ClusterShell what folds names.

    `kept`: a file that holds it from one command to the next; it is made anew where what it was
    made of has changed.
    """
    files = core_files()
    state = _state(files)
    if (made := content(kept)) and made.endswith(state):
        return made
    made = _packed(files, state)
    with contextlib.suppress(OSError):  # it is made again the next time
        write_atomic(kept, made, 0o600)
    return made


def core_files() -> dict[str, str]:
    """The files that a server is sent: name in the zip -> path."""
    top = REPOSITORY
    core = os.path.join(top, "tasks/core")
    paths = [f"{core}/__init__.py", os.path.join(top, "tasks/__init__.py")]
    for name in PACKAGES:
        package = os.path.join(core, name)
        paths += _modules(package) if os.path.isdir(package) else [f"{package}.py"]
    files = {path[len(top) + 1 :]: path for path in paths}

    library = os.path.dirname(os.path.abspath(ClusterShell.__file__))
    for name in LIBRARY:
        files[f"ClusterShell/{name}.py"] = f"{library}/{name}.py"
    return files


def _modules(package: str) -> Iterator[str]:
    """Every module of a package, and of those in it."""
    for above, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(above, name)


def _state(files: Mapping[str, str]) -> bytes:
    """A digest by which a zip of other files, or of another Python, is known."""
    digest = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    for name, path in sorted(files.items()):
        status = os.stat(path)
        digest.update(f"\0{name}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest().encode()


def _packed(files: Mapping[str, str], state: bytes) -> bytes:
    sources = {name: read(path) for name, path in sorted(files.items())}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**sources, bytecode.NAME: bytecode.compiled(sources)}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        archive.comment = state  # the zip's last bytes: a file that was cut off has none
    return packed.getvalue()
