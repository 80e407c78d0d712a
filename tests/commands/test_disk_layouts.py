"""Disks of images, groups and nodes that the root of their image cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.rootfs.disks import PROGRAMS, disk_problems, disk_support, missing
from tasks.core.site.model import Disk, Partition
from tasks.core.tree.model import Tree, directory, generated_file, symlink
from tests.support import sample_site
from tests.support.commands import Doit

VAR = "{mount: /var, size: 64M, fs: ext4, fill: /var.ro}"
SCRATCH = f"disk: {{partitions: [{VAR}, {{mount: /scratch, size: rest, fs: xfs}}]}}"


@pytest.fixture
def site(doit: Doit, reference: Path) -> Doit:
    """A site whose group has a disk with a mount point of its own."""
    sample_site.write(
        doit.site, reference, [f"{node[:-1]}, groups: [gpu]}}" for node in sample_site.NODES]
    )
    text = doit.site.read_text()
    doit.site.write_text(text.replace("nodes:\n", f"groups:\n  gpu:\n    {SCRATCH}\nnodes:\n"))
    return doit


def test_a_groups_mount_point_that_the_root_has_not_is_refused_where_it_is_written(site: Doit):
    said = site(status=3)
    line = next(
        n for n, line in enumerate(site.site.read_text().splitlines(), 1) if "/scratch" in line
    )
    assert (
        f"{site.site}:{line}:5: groups.gpu.disk: on image worker: mount: no folder /scratch in the root; add it"
        in said
    )
    assert not (site.build / "worker").exists()


def test_it_is_fine_once_the_images_disk_an_overlay_or_the_reference_has_it(
    site: Doit, reference: Path
):
    site(status=3)
    text = site.site.read_text()
    site.site.write_text(
        text.replace(
            "disk: {devices: [/dev/vda]}",
            SCRATCH.replace("disk: {", "disk: {devices: [/dev/vda], "),
        )
    )
    site()
    assert (site.build / "worker/root/scratch").is_dir()
    site.site.write_text(text)
    assert "no folder /scratch" in site(status=3)
    (reference / "scratch").mkdir()
    site()


def test_a_partition_that_is_smaller_than_what_fills_it_is_refused(site: Doit, reference: Path):
    (reference / "scratch").mkdir()
    site()
    with open(reference / "var/lib/large", "wb") as file:
        file.truncate(80 << 20)
    assert (
        "groups.gpu.disk: on image worker: size: /var.ro holds 85 MiB, 64M for /var cannot"
        in site(status=3)
    )
    text = site.site.read_text()
    site.site.write_text(
        text.replace("{devices: [/dev/vda]}", f"{{partitions: [{VAR}]}}").replace(
            SCRATCH, "cmdline: quiet"
        )
    )
    assert (
        "images.worker.disk: size: /var.ro holds 85 MiB, 64M for /var cannot; make it larger"
        in site(status=3)
    )


def test_check_names_the_programs_that_nodes_need_for_their_disks_and_have_not(
    site: Doit, reference: Path
):
    (reference / "scratch").mkdir()
    site()
    assert (
        "warning  disk: worker: the root lacks mkfs.xfs, which its nodes' disks need; add xfsprogs"
        in site("check")
    )
    for program in {program for row in PROGRAMS.values() for program in row}:
        sample_site.put(reference / "usr/sbin" / program, b"#!/bin/sh\n", 0o755)
    site()
    assert "lacks" not in site("check")


def test_a_folder_may_be_reached_by_a_symlink_and_one_on_var_is_in_what_fills_it():
    tree: Tree = {
        b"": directory(),
        b"data": symlink(b"srv/data"),
        b"srv": directory(),
        b"srv/data": directory(),
    }
    tree |= {
        b"var.ro": directory(),
        b"var.ro/spool": directory(),
        b"round": symlink(b"round"),
        b"gone": symlink(b"no"),
    }
    has = disk_support(tree)
    parts = [
        Partition(mount, 10, "ext4", "x")
        for mount in ("/data", "/var/spool", "/round", "/gone", "/var/other")
    ]
    said = list(disk_problems(has, Disk(partitions=tuple(parts))))
    assert [line.split()[3] for line in said] == ["/round", "/gone", "/var/other"]


FSTAB = b"""\
172.24.10.1:/srv/home /home/ nfs rw 0 0
nas:/two\\040words /two\\040words nfs
#nas:/off /off nfs
nas:/later /later nfs rw,noauto,_netdev 0 0
nas:/soon /soon nfs noautofs
tmpfs /tmp tmpfs defaults 0 0
nas:/beside /home/beside nfs rw 0 0
none swap swap
nas:/short /short
"""


def test_what_fstab_of_the_root_mounts_is_no_disks_mount_point():
    names = ["home", "tmp", "soon", "off", "later", "short", "two words"]
    tree: Tree = {b"": directory(), b"etc": directory()}
    for name in names:
        tree[name.encode()] = directory()
    parts = [Partition(f"/{name}", 10, "ext4", "x") for name in names]
    disk = Disk(partitions=tuple(parts))
    assert list(disk_problems(disk_support(tree), disk)) == []

    tree[b"etc/fstab"] = generated_file(FSTAB)
    said = [line.split(",")[0] for line in disk_problems(disk_support(tree), disk)]
    start = "mount: /etc/fstab of the root mounts something on"
    assert said == [
        f"{start} /home",
        f"{start} /soon",
        f"{start} /short",
        f"{start} /two words",
    ]


def test_what_a_unit_mounts_is_no_disks_mount_point_unless_nothing_starts_it():
    unit = "[Mount]\nWhat={}\nWhere=/home\nType={}\n"
    disk = Disk(partitions=(Partition("/home", 10, "ext4", "x"),))
    tree: Tree = {b"": directory(), b"home": directory()}
    place, link = b"usr/lib/systemd/system/home.mount", b"etc/systemd/system/x.wants/home.mount"
    tree[place] = generated_file(unit.format("nas:/home", "nfs").encode())
    assert list(disk_problems(disk_support(tree), disk)) == []

    tree[link] = symlink(b"/" + place)
    (line,) = disk_problems(disk_support(tree), disk)
    assert line.startswith("mount: a unit of the root mounts something on /home, too; remove it")
    tree[place] = generated_file(unit.format("tmpfs", "tmpfs").encode())
    assert list(disk_problems(disk_support(tree), disk)) == []


def test_a_mount_of_the_reference_and_one_of_a_disk_at_one_place_are_refused(
    site: Doit, reference: Path
):
    (reference / "scratch").mkdir()
    with open(reference / "etc/fstab", "ab") as file:
        file.write(b"nas:/home /home nfs rw 0 0\n")
    site()  # the image's own disk has /home, and no node has that disk
    with open(reference / "etc/fstab", "ab") as file:
        file.write(b"nas:/scratch /scratch nfs rw 0 0\n")
    said = site(status=3)
    assert (
        "groups.gpu.disk: on image worker: mount: /etc/fstab of the root mounts something" in said
    )
    assert (
        "on /scratch, too; remove its line from the reference or overlay, or the partition" in said
    )


def test_programs_are_looked_for_where_setup_sh_finds_them():
    tree: Tree = {
        b"sbin/mkfs.xfs": generated_file(b""),
        b"usr/bin/awk": symlink(b"mawk"),
        b"opt/sfdisk": generated_file(b""),
    }
    lacks = missing(disk_support(tree), Disk(partitions=(Partition("/x", 300, "xfs", "x"),)))
    assert set(lacks) == {"sfdisk", "blkid"}


def test_a_plan_says_that_a_site_of_another_name_has_other_disks(
    site: Doit, reference: Path, tmp_path: Path
):
    (reference / "scratch").mkdir()
    site("deploy", f"destdir={tmp_path}/served")
    site.site.write_text(site.site.read_text().replace("site: small", "site: large"))
    said = site("plan", f"destdir={tmp_path}/served")
    assert (
        "  ! the site is large now: the disks of all nodes are another site's, and stay untouched\n"
        in said
    )
