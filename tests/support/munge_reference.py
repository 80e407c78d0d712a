"""A reference with munge, and with what nodes open secrets with: another one, a copy, with packages installed as on a real machine."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

from tests.support.network_managers import APT, run

PACKAGES = "munge age curl tpm2-tools".split()


def reference(cache: Path, base: Path) -> Path:
    """The reference made of `base`; `cache` survives, and may be another test run's, too."""
    made_by = hashlib.sha256(Path(__file__).read_bytes() + str(base).encode()).hexdigest()[:12]
    tree, new = cache / f"munge-{made_by}", cache / "munge-new"
    with open(cache / "munge.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            run("rm", "-rf", *cache.glob("munge-*"))
            run("cp", "-a", "--reflink=auto", base, new)
            run(*APT, new, *PACKAGES)
            new.rename(tree)
    return tree
