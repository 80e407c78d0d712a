"""What a root has for its nodes' disks."""

from __future__ import annotations

from tasks.core.rootfs.disks import disk_support, missing
from tasks.core.site.model import Disk, Raid
from tasks.core.tree.model import directory, generated_file


def test_a_set_of_disks_needs_mdadm_and_one_disk_does_not():
    has = disk_support({b"sbin": directory(), b"sbin/mkfs.ext3": generated_file(b"")})
    mirror = Disk(raid=Raid(level=1, devices=2))
    assert missing(has, mirror) == {**missing(has, Disk()), "mdadm": "mdadm"}
