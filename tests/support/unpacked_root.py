"""A root of Debian's packages that is made once, of a download of its own, and kept for later runs of the tests."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path


def kept_root(cache: Path, name: str, made_by: Path, make: Callable[[Path], object]) -> Path:
    """The root of that name, as the module `made_by` makes it; `cache` may be another test run's, too."""
    digest = hashlib.sha256(made_by.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    tree = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            for old in cache.glob(f"{name}-*"):
                shutil.rmtree(old)
            new = cache / f"{tree.name}.new"
            make(new)
            new.rename(tree)
    return tree


def unpack(tree: Path, packages: Iterable[str], not_needed: Iterable[str]) -> None:
    """Unpack, never install: no package's script has run in it."""
    extract = ["mmdebstrap", "--quiet", "--variant=extract"]
    alone = '--aptopt=APT::Install-Recommends "false"'
    include = f"--include={','.join(packages)}"
    subprocess.run([*extract, alone, include, "bookworm", tree], check=True)
    for path in not_needed:
        shutil.rmtree(tree / path, ignore_errors=True)
