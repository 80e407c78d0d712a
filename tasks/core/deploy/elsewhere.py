"""Roots that another machine serves: whether it has what was published here, before nodes ask."""

from __future__ import annotations

import os
import shutil
import subprocess

from ..base.errors import Refused
from ..base.files import read
from ..base.process import Say
from ..plan.state import Desired
from ..store.paths import Targets

CAT = "nfs-cat"  # an NFS client of its own, which mounts nothing
PACKAGE = "libnfs-utils"
SAMPLE = "etc/setup.sh"  # every root has it
PATIENCE = 30  # seconds


def must_be_served(targets: Targets, desired: Desired, say: Say) -> None:
    """Whether `nfs_server` has the releases that nodes are told next. Raises Refused.

    One file of each is read from there, and compared with what is published here.
    """
    place = desired.nfs_server
    if not place or targets.destdir:
        return
    if not shutil.which(CAT):
        say(f"{place} is not asked whether it has what was published: install {PACKAGE}")
        return
    for built in desired.releases:
        id = built.release.id
        path = os.path.join(targets.root(id), SAMPLE)
        why = _difference(f"{place.rstrip('/')}/{id}/{SAMPLE}", read(path), built.release.nfs)
        if why:
            mounted = f"is it what is mounted at {targets.nfs}, and may this machine read it?"
            raise Refused(f"nfs_server {place} does not have {id}: {why}; {mounted}")


def _difference(place: str, wanted: bytes, nfs: str) -> str:
    """In what a file of an NFS server, ADDRESS:/PATH, is not that; "" where it is."""
    address, _, path = place.partition(":")
    version = 4 if nfs.startswith("vers=4") else 3
    argv = [CAT, f"nfs://{address}{path}?version={version}"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE} seconds"
    if done.returncode:
        said = done.stderr.decode(errors="replace").split()
        return " ".join(said)[-200:] or f"{CAT} ended with {done.returncode}"
    return "" if done.stdout == wanted else f"{SAMPLE} is another one there"
