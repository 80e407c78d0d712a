"""First copies on file systems that have reflinks: the bytes of a file are on the disk once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tasks.core.checkout import drift, staged
from tasks.core.checkout.clone import publish
from tasks.core.checkout.staged import checkout
from tasks.core.scan.reader import scan
from tests.support.trees import contents, load_staged

SIZE = 1_000_001  # no whole block
MAKE = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")


@pytest.fixture(params=sorted(MAKE))
def mounted(request, tmp_path):
    """A file system of that kind, in a file."""
    if not shutil.which(MAKE[request.param][0]):
        pytest.skip(f"needs {MAKE[request.param][0]}")
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    subprocess.run([*MAKE[request.param], image], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this kernel: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def blocks(path) -> list[str]:
    """Where the bytes of a file are on its disk."""
    os.sync()
    said = subprocess.run(["filefrag", "-v", path], check=True, capture_output=True, text=True)
    return re.findall(r"(\d+\.\. +\d+: +\d+):.*shared", said.stdout)


def test_reference_build_and_release_share_their_blocks_and_no_inode(mounted):
    reference = mounted / "reference"
    reference.mkdir()
    (reference / "large").write_bytes(os.urandom(SIZE))
    (reference / "small").write_bytes(b"small")
    (reference / "link").symlink_to("small")
    place = staged.staged_paths(str(mounted / "image"))
    checkout(place, scan(reference).tree)
    root = mounted / "released"
    done = publish(staged.staged_manifest(place), root)
    drift.must_be_made(done.made, root, done.stats, {}, done.written)
    assert contents(scan(root).tree) == contents(load_staged(place))
    files = [reference / "large", mounted / "image/root/large", root / "large"]
    first, second, third = map(blocks, files)
    assert first and first == second == third
    assert len({file.stat().st_ino for file in files}) == 3
