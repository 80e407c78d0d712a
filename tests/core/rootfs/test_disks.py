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
    tree = {name: directory() for name in (b"usr", b"usr/share", b"etc")}
    for name in (b"usr/share/one", b"usr/share/two", b"etc/motd", b"top"):
        tree[name] = generated_file(b"x" * 1000)
    has = disk_support(tree)

    sizes = {b"usr/share/one": 2000, b"etc/motd": -400, b"top": 1}
    for name, size in sizes.items():
        tree[name] = tree[name]._replace(size=1000 + size)
    assert grown(has, sizes) == disk_support(tree) != has
