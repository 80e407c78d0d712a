"""What a root has for its nodes' disks."""

from __future__ import annotations

from tasks.core.rootfs.disks import disk_support, grown, missing
from tasks.core.site.model import Disk, Raid
from tasks.core.tree.model import directory, generated_file


def test_a_set_of_disks_needs_mdadm_and_one_disk_does_not():
    has = disk_support({b"sbin": directory(), b"sbin/mkfs.ext3": generated_file(b"")})
    mirror = Disk(raid=Raid(level=1, devices=2))
    assert missing(has, mirror) == {**missing(has, Disk()), "mdadm": "mdadm"}


def test_what_disks_need_grows_with_the_files():
    names = [b"usr/share/one", b"usr/share/two", b"etc/motd", b"top"]
    tree = {name: generated_file(b"x" * 1000) for name in names}
    tree |= {name: directory() for name in (b"usr", b"usr/share", b"etc")}
    sizes = {b"usr/share/one": 2000, b"etc/motd": -400, b"top": 1}
    larger = {name: tree[name]._replace(size=1000 + size) for name, size in sizes.items()}
    assert grown(disk_support(tree), sizes) == disk_support(tree | larger) != disk_support(tree)
