"""A whole reference, from a real folder to the root that nodes share."""

from __future__ import annotations

import io
import json
import os
import pathlib
import random
import secrets
import stat
import tarfile
from collections.abc import Callable

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.base.overlays import BUILT_IN_OVERLAYS
from tasks.core.reference.exclude import bounds
from tasks.core.rootfs import overlay, transforms
from tasks.core.rootfs.stage import StagedRoot, list_capable, lost_capabilities, stage
from tasks.core.scan.reader import scan
from tasks.core.site.model import Disk, Image, Partition, Reference
from tasks.core.tree.model import (
    CHAR,
    FIFO,
    FILE,
    LINK,
    Entry,
    Tree,
    directory,
    generated_file,
    read_content,
    symlink,
)
from tests.support import commands
from tests.support.sample_site import fill

REPOSITORY = str(commands.REPOSITORY)

RC_SYSINIT = b"""#!/bin/bash
. /etc/sysconfig/network
/sbin/start_udev
echo mounting
"""
EL5: dict[str, bytes | str | None] = {
    "etc/rc.sysinit": "rc.d/rc.sysinit",
    "etc/rc.d/rc.sysinit": RC_SYSINIT,
    "etc/sysconfig/network": b"NETWORKING=yes\nHOSTNAME=ref\n",
    "etc/fstab": b"LABEL=/ / ext3 defaults 1 1\ntmpfs /dev/shm tmpfs defaults 0 0\n",
    "etc/hosts": b"127.0.0.1 localhost\n172.24.10.9 ref\n",
    "etc/mtab": b"/dev/sda1 / ext3 rw 0 0\n",
    "etc/resolv.conf": b"nameserver 10.0.0.1\n",
    "etc/shadow": b"root:$1$abcdefgh$" + b"x" * 22 + b":14000:0:99999:7:::\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\nntp:x:38:38::/etc/ntp:/sbin/nologin\n",
    "etc/group": b"root:x:0:root\nntp:x:38:\n",
    "sbin/init": b"\x7fELF",
    "sbin/start_udev": b"#!/bin/sh\n",
    "var/log/messages": b"Nov 23 ref kernel: hello\n",
    "var/spool/mail/root": b"mail",
    "var/lib/rpm/Packages": b"packages",
    "dev": None,
    "proc": None,
    "sys": None,
    "tmp/leftover": b"",
    "root/anaconda-ks.cfg": b"rootpw --iscrypted $1$x\n",
}
SYSTEMD: dict[str, bytes | str | None] = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "usr/bin/ls": b"\x7fELF",
    "usr/sbin/init": "../lib/systemd/systemd",
    "usr/lib/systemd/systemd": b"\x7fELF",
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "etc/hostname": b"ref\n",
    "etc/mtab": "../proc/self/mounts",
    "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": b"root:x:0:\n",
    "var/lib/dbus/machine-id": "/etc/machine-id",
    "var/log/journal/0123456789abcdef0123456789abcdef/system.journal": b"journal",
    "var/run": "/run",
    "run": None,
}


@pytest.fixture
def staged(tmp_path: pathlib.Path) -> Callable[..., StagedRoot]:
    """Stage a reference of these files, with the site's overlay `site` of those."""

    def run(
        files: dict[str, bytes | str | None],
        site: dict[str, bytes | str | None] | None = None,
        **settings: object,
    ) -> StagedRoot:
        fill(tmp_path / "reference", files)
        if site is not None:
            fill(tmp_path / "overlays/site", site)
            settings["overlays"] = ("site",)
        image = Image("worker", Reference("path", str(tmp_path / "reference")), **settings)  # type: ignore[arg-type]
        found = scan(tmp_path / "reference", options=bounds(image))
        return stage(image, found.tree, (str(tmp_path), REPOSITORY))

    return run


def problems(bad: pytest.ExceptionInfo[BadInput], folder: pathlib.Path) -> list[str]:
    return [str(each).replace(f"{folder}/", "") for each in bad.value.problems]


# The rows of the origin's procedure


def test_el5_becomes_a_shared_root(staged) -> None:
    tree = staged(EL5).tree
    assert tree[b"var"] == directory()
    assert not any(path.startswith(b"var/") for path in tree)
    assert read_content(tree[b"var.ro/lib/rpm/Packages"]) == b"packages"
    assert read_content(tree[b"var.ro/log/messages"]) == b""
    assert tree[b"etc/sysconfig/network"] == symlink(b"../../var/network")
    assert read_content(tree[b"var.ro/network"]) == b"NETWORKING=yes\n"
    assert tree[b"etc/hosts"] == symlink(b"../run/plugnode/hosts")
    assert tree[b"etc/mtab"] == symlink(b"../proc/mounts")
    assert tree[b"etc/resolv.conf"] == symlink(b"../run/plugnode/resolv.conf")
    assert read_content(tree[b"etc/fstab"]) == b"tmpfs /dev/shm tmpfs defaults 0 0\n"
    assert read_content(tree[b"etc/shadow"]) == b"root:*:14000:0:99999:7:::\n"
    assert tree[b"run"] == directory()
    assert tree[b"etc/setup.sh"].mode == 0o755
    assert (
        b"etc/machine-id" not in tree
        and b"tmp/leftover" not in tree
        and b"root/anaconda-ks.cfg" not in tree
    )


def test_rc_sysinit_calls_setup_and_keeps_its_mode_and_place(
    staged, tmp_path: pathlib.Path
) -> None:
    fill(tmp_path / "reference", EL5)
    os.chmod(tmp_path / "reference/etc/rc.d/rc.sysinit", 0o751)
    tree = staged({}).tree
    lines = read_content(tree[b"etc/rc.d/rc.sysinit"]).splitlines()
    assert tree[b"etc/rc.d/rc.sysinit"].mode == 0o751
    assert tree[b"etc/rc.sysinit"] == symlink(b"rc.d/rc.sysinit")
    assert (
        lines.index(b"/sbin/start_udev")
        < lines.index(b"/etc/setup.sh")
        < lines.index(b"echo mounting")
    )
    rest = iter(lines)
    assert all(line in rest for line in RC_SYSINIT.splitlines())


def test_a_systemd_root_gets_its_identity_from_the_site_data(staged) -> None:
    tree = staged(SYSTEMD).tree
    assert tree[b"etc/machine-id"] == symlink(b"../run/plugnode/machine-id")
    assert tree[b"etc/mtab"] == symlink(b"../proc/self/mounts")
    assert tree[b"var.ro/lib/dbus/machine-id"] == symlink(b"/etc/machine-id")
    assert tree[b"var.ro/run"] == symlink(b"/run")
    assert tree[b"etc/hostname"] == symlink(b"../run/plugnode/hostname")
    assert tree[b"etc/resolv.conf"] == symlink(b"../run/plugnode/resolv.conf")
    assert not any(b"0123456789abcdef" in path for path in tree)
    assert b"etc/sysconfig" not in tree


@pytest.mark.parametrize(
    "name",
    [
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dnf-makecache.timer",
        "dnf-automatic.timer",
        "yum-cron.service",
    ],
)
def test_no_node_upgrades_a_root_that_it_shares(staged, name: str) -> None:
    """Nor do thousands of them fetch what could be, each hour and into a /var that may be in memory."""
    wanted = {
        f"etc/systemd/system/x.target.wants/{name}": f"/usr/lib/systemd/system/{name}",
        f"usr/lib/systemd/system/{name}": b"[Timer]\nOnBootSec=10min\n",
    }
    tree = staged(SYSTEMD | wanted).tree
    assert tree[f"etc/systemd/system/{name}".encode()] == symlink(b"/dev/null")


def test_a_name_that_the_site_brings_stays(staged) -> None:
    assert staged(SYSTEMD, {"etc/hostname": b"all\n"}).tree[b"etc/hostname"].type == FILE
    tree = staged({}, local_files=("etc/hostname",)).tree
    assert tree[b"etc/hostname"].link.endswith(b"var/lib/plugnode/files/etc/hostname")


APPARMOR: dict[str, bytes | str | None] = {
    "etc/apparmor.d/tunables/home.d/site.local": b"",
    "etc/cups/printers.conf": b"",
}


def test_what_apparmor_confines_reads_what_a_node_has_of_its_own(staged) -> None:
    """chronyd could not read /etc/resolv.conf, which leads to /run/plugnode, and kept no time."""
    files = {"etc/chrony.conf": "templates/nodes/chrony.conf"}
    tree = staged(
        SYSTEMD | APPARMOR, local_files=("etc/cups",), node_files=tuple(files.items())
    ).tree
    aliases = read_content(tree[b"etc/apparmor.d/tunables/home.d/plugnode"]).decode()
    for name, place in {
        "resolv.conf": "run/plugnode/resolv.conf",
        "machine-id": "run/plugnode/machine-id",
        "chrony.conf": "run/plugnode/files/etc/chrony.conf",
        "cups": "var/lib/plugnode/files/etc/cups",
    }.items():
        assert f'alias "/etc/{name}" -> "/{place}",\n' in aliases
    rules = read_content(tree[b"etc/apparmor.d/abstractions/base.d/plugnode"]).decode()
    names = ("hostname", "hosts", "machine-id", "resolv.conf")
    assert rules.splitlines() == [f'"/run/plugnode/{name}" r,' for name in names]


def test_a_root_without_apparmor_gets_no_rules_for_it(staged) -> None:
    assert not any(b"apparmor" in path for path in staged(SYSTEMD).tree)


def status_of(folder: pathlib.Path) -> dict[pathlib.Path, tuple[object, ...]]:
    status = {path: path.lstat() for path in folder.rglob("*")}
    return {
        path: (each.st_mode, each.st_mtime_ns, each.st_ctime_ns) for path, each in status.items()
    }


def test_no_file_of_the_reference_is_changed(staged, tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "reference", EL5)
    before = status_of(tmp_path / "reference")
    staged({}, {"etc/motd": b"x"})
    assert status_of(tmp_path / "reference") == before


def test_the_order_in_which_the_reference_was_read_does_not_matter(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "reference", SYSTEMD)
    image = Image("worker", Reference("path", str(tmp_path / "reference")))
    tree = scan(tmp_path / "reference").tree
    first = stage(image, tree, (REPOSITORY,))
    for seed in range(3):
        shuffled = list(tree.items())
        random.Random(seed).shuffle(shuffled)
        again = stage(image, dict(shuffled), (REPOSITORY,))
        assert list(again.tree.items()) == list(first.tree.items())
        assert json.dumps(again.notes) == json.dumps(first.notes)


def test_everything_a_root_holds_is_kept(staged, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "reference"
    fill(
        root,
        SYSTEMD
        | {
            "opt/a": b"a",
            "opt/su": b"s",
            "opt/with space \n\t": b"",
            "opt/dangling": "/nowhere/../x",
        },
    )
    os.link(root / "opt/a", root / "opt/b")
    os.chmod(root / "opt/su", 0o4711)
    os.mkfifo(root / "opt/fifo", 0o640)
    os.chown(root / "opt/a", 1234, 4321)
    with open(os.path.join(bytes(root), b"opt/\xff\xfe"), "wb"):
        pass
    (root / "dev").mkdir(exist_ok=True)
    os.mknod(root / "dev/null", stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(root / "dev/null", 0o666)
    tree = staged({}).tree
    assert tree[b"opt/a"].inode == tree[b"opt/b"].inode != 0
    assert (tree[b"opt/a"].uid, tree[b"opt/a"].gid) == (1234, 4321)
    assert tree[b"opt/su"].mode == 0o4711
    assert tree[b"opt/fifo"].type == FIFO
    assert tree[b"opt/dangling"].link == b"/nowhere/../x"
    assert tree[b"dev/null"] == Entry(CHAR, 0o666, 0, 0, device=(1, 3))
    assert {b"opt/with space \n\t", b"opt/\xff\xfe"} < set(tree)


# Excludes, mount points, fstab


def test_what_an_overlays_fstab_mounts_on_is_there_too(staged) -> None:
    laid = {"etc/fstab": b"tmpfs /data/scratch tmpfs size=64M 0 0\n"}
    tree = staged(SYSTEMD | {"etc/fstab": b"nas:/x /old nfs ro 0 0\n"}, site=laid).tree
    assert tree[b"data/scratch"] == directory() and b"old" not in tree


def test_excludes_of_the_site_come_on_top_of_the_built_in_ones(staged) -> None:
    tree = staged(
        SYSTEMD | {"scratch/x/y": b"", "opt/big.iso": b""}, exclude=("/scratch/*", "*.iso")
    ).tree
    assert b"scratch" in tree and b"scratch/x" not in tree and b"opt/big.iso" not in tree


def test_folders_to_mount_on_are_there(staged) -> None:
    files = SYSTEMD | {
        "etc/fstab": b"nas:/data /mnt/data nfs ro 0 0\nnas:/x /srv/with\\040blank nfs ro 0 0\n"
    }
    parts = (
        Partition("/var", 6000, "ext4", "pn-var", "/var.ro"),
        Partition("/scratch/jobs", None, "ext4", "pn-s"),
    )
    tree = staged(
        {**files, "home": "usr/home"},
        disk=Disk(partitions=(*parts, Partition("swap", 1, "swap", "s"))),
    ).tree
    for name in (
        b"proc",
        b"sys",
        b"dev",
        b"run",
        b"tmp",
        b"mnt/data",
        b"srv/with blank",
        b"scratch/jobs",
        b"root",
    ):
        assert tree[name].type == "dir", name
    assert (
        tree[b"tmp"].mode == 0o1777 and tree[b"root"].mode == 0o700 and tree[b"proc"].mode == 0o555
    )
    assert tree[b"home"] == symlink(b"usr/home") and tree[b"usr/home"] == directory()
    assert b"swap" not in tree


FSTAB = b"""# /etc/fstab
#UUID=1234 /old ext4 defaults 0 0

UUID=0a1b\t/\text4\terrors=remount-ro 0 1
LABEL=/var /var ext3 defaults 1 2
PARTUUID=0a-01 /boot ext4 defaults 1 2
/dev/sda3 swap swap defaults 0 0
/dev/mapper/vg0-home /home xfs defaults 0 0
/swapfile none swap sw 0 0
rpool/data /data zfs defaults 0 0
/dev/zram0 none swap defaults,pri=100 0 0
/dev/cdrom /media/cdrom iso9660 ro,noauto 0 0
"LABEL=data" /d ext4 defaults 0 0
nas:/root / nfs ro 0 0
nas:/home   /home  nfs  rw,hard 0 0
//nas/share /share cifs credentials=/etc/x 0 0
tmpfs /dev/shm tmpfs defaults 0 0
/dev/shm /dev/shm tmpfs size=1G 0 0
proc\t/proc proc defaults 0 0
/var/data /srv none bind 0 0
mon1,mon2:/ /ceph ceph name=x 0 0
cvmfs2#grid.cern.ch /cvmfs fuse defaults 0 0
two words
"""
KEPT = b"""# /etc/fstab
#UUID=1234 /old ext4 defaults 0 0

/dev/zram0 none swap defaults,pri=100 0 0
nas:/home   /home  nfs  rw,hard 0 0
//nas/share /share cifs credentials=/etc/x 0 0
tmpfs /dev/shm tmpfs defaults 0 0
/dev/shm /dev/shm tmpfs size=1G 0 0
proc\t/proc proc defaults 0 0
/var/data /srv none bind 0 0
mon1,mon2:/ /ceph ceph name=x 0 0
cvmfs2#grid.cern.ch /cvmfs fuse defaults 0 0
two words
"""


def test_fstab_loses_the_disks_of_the_reference_and_nothing_else() -> None:
    tree: Tree = {
        b"": directory(),
        b"etc": directory(),
        b"etc/fstab": generated_file(FSTAB, 0o600, 1, 2),
    }
    after = transforms.fstab(tree)
    assert read_content(after[b"etc/fstab"]) == KEPT
    assert after[b"etc/fstab"][1:4] == (0o600, 1, 2)
    assert transforms.fstab(after) == after
    crlf = {
        b"": directory(),
        b"etc": directory(),
        b"etc/fstab": generated_file(b"a:/b /c nfs x 0 0\r\n/dev/x /y ext4 z\r\n"),
    }
    assert read_content(transforms.fstab(crlf)[b"etc/fstab"]) == b"a:/b /c nfs x 0 0\r\n"
    assert transforms.fstab({b"": directory()}) == {b"": directory()}


DATA = b"[Unit]\nBefore=local-fs.target\n[Mount]\nWhat=%s\nWhere=%s\nType=%s\n"
SYSTEM = "etc/systemd/system/"
WANTS = SYSTEM + "local-fs.target.wants/"
OWN_DISKS: dict[str, bytes | str | None] = {
    SYSTEM + "data.mount": DATA % (b"/dev/disk/by-uuid/0a1b", b"/data", b"ext4"),
    SYSTEM + "data.automount": b"[Automount]\nWhere=/data\n",
    SYSTEM + "data.mount.d/late.conf": b"[Unit]\nAfter=multi-user.target\n",
    WANTS + "data.mount": "/etc/systemd/system/data.mount",
    SYSTEM + "mnt-two\\x2dwords.mount": b"[Mount]\nWhat=LABEL=x\nWhere=/mnt/two-words\n",
    SYSTEM + "led.mount": "/opt/site/led.mount",
    "opt/site/led.mount": DATA % (b"/dev/mapper/vg-led", b"/led", b"xfs"),
    "usr/lib/systemd/system/pool.mount": DATA % (b"rpool/data", b"/pool", b"zfs"),
    SYSTEM + "dev-sda2.swap": b"[Swap]\nWhat=/dev/sda2\n",
    SYSTEM + "swap.target.wants/dev-sda2.swap": "../dev-sda2.swap",
    SYSTEM + "swapfile.swap": b"[Swap]\nWhat=/swapfile\n",
}
OTHER_MOUNTS: dict[str, bytes | str | None] = {
    SYSTEM + "home.mount": DATA % (b"nas:/home", b"/home", b"nfs"),
    WANTS + "home.mount": "/etc/systemd/system/home.mount",
    SYSTEM + "home.automount": b"[Automount]\nWhere=/home\n",
    SYSTEM + "srv.mount": DATA % (b"/var/data", b"/srv", b"none"),
    SYSTEM + "snap-core-1.mount": DATA % (b"/var/lib/snapd/core.snap", b"/snap/1", b"squashfs"),
    SYSTEM + "dev-zram0.swap": b"[Swap]\nWhat=/dev/zram0\n",
    SYSTEM + "off.mount": "/dev/null",
    "usr/lib/systemd/system/dev-mqueue.mount": DATA % (b"mqueue", b"/dev/mqueue", b"mqueue"),
}


def test_units_lose_the_disks_of_the_reference_as_fstab_does(staged) -> None:
    """A node would wait for each for 90 s, and call it a failed unit."""
    made = staged(SYSTEMD | OWN_DISKS | OTHER_MOUNTS)
    gone = {name.encode() for name in OWN_DISKS if not name.startswith("opt/")}
    assert gone.isdisjoint(made.tree)
    assert {name.encode() for name in OTHER_MOUNTS} <= made.tree.keys()
    assert gone <= {row[0].replace("\\\\", "\\").encode() for row in made.notes["scrubbed"]}


def test_a_disk_that_keep_or_an_overlay_has_mounted_is_mounted(staged) -> None:
    unit, other = SYSTEM + "data.mount", SYSTEM + "own.mount"
    laid = {other: DATA % (b"/dev/sdb1", b"/own", b"ext4")}
    tree = staged(SYSTEMD | OWN_DISKS, laid, keep=(unit, SYSTEM + "dev-sda2.swap")).tree
    assert {unit.encode(), other.encode(), (WANTS + "data.mount").encode()} <= tree.keys()
    assert (SYSTEM + "dev-sda2.swap").encode() in tree
    assert (SYSTEM + "swapfile.swap").encode() not in tree


def test_what_cannot_start_without_a_disk_of_the_reference_is_named(staged) -> None:
    service = "usr/lib/systemd/system/jobs.service"
    wants = {SYSTEM + "multi-user.target.wants/jobs.service": "/" + service}
    files = SYSTEMD | OWN_DISKS | wants
    text = b"[Unit]\nRequires=data.mount\nRequiresMountsFor=/led\n[Service]\nExecStart=/bin/true\n"
    (line,) = staged(files | {service: text}).notes["bereft"]
    assert line.startswith(
        "jobs.service: needs data.mount, which is a disk of the reference's own; "
    )
    disk = Disk(partitions=(Partition("/data", None, "ext4", "pn-data"),))
    assert staged({}, disk=disk).notes["bereft"] == []

    waits = b"[Unit]\nBindsTo=dev-disk-by\\x2dlabel-data.device dev-ttyS0.device\n"
    (line,) = staged({service: waits}).notes["bereft"]
    assert line.startswith("jobs.service: needs dev-disk-by\\x2dlabel-data.device, which is")


# Overlays


def test_an_overlay_wins_over_the_reference_and_over_generated_links(staged) -> None:
    site = {
        "etc/motd": b"site",
        "etc/resolv.conf": b"nameserver 172.24.10.1\n",
        "var/lib/app/seed": b"s",
    }
    tree = staged(EL5, site).tree
    assert read_content(tree[b"etc/motd"]) == b"site"
    assert read_content(tree[b"etc/resolv.conf"]) == b"nameserver 172.24.10.1\n"
    assert read_content(tree[b"var.ro/lib/app/seed"]) == b"s"


def test_what_an_overlay_brings_is_not_scrubbed(staged) -> None:
    tree = staged(EL5, {"root/.ssh/authorized_keys": b"ssh-ed25519 AAAA me\n"}).tree
    assert read_content(tree[b"root/.ssh/authorized_keys"]) == b"ssh-ed25519 AAAA me\n"


def test_modes_knows_the_accounts_of_the_reference(staged) -> None:
    tree = staged(EL5, {"etc/ntp/keys": b"", "MODES": b"etc/ntp/keys 0640 root ntp\n"}).tree
    assert tree[b"etc/ntp/keys"][1:4] == (0o640, 0, 38)


def test_no_symlink_of_a_reference_reaches_the_host(staged, tmp_path: pathlib.Path) -> None:
    host = tmp_path / "host"
    fill(
        host,
        {
            "fstab": b"/dev/sda1 / ext4 x 0 0\n",
            "hosts": b"host\n",
            "shadow": b"root:$1$a$b:\n",
            "x/y": b"y",
        },
    )
    before = status_of(host)
    files = {name: f"{host}/{name}" for name in ("fstab", "hosts", "shadow", "x")}
    links: dict[str, bytes | str | None] = {f"etc/{name}": target for name, target in files.items()}
    links["etc/rc.d/rc.sysinit"] = RC_SYSINIT
    base = {name: what for name, what in EL5.items() if name not in links}
    tree = staged(base | links, {"etc/x/new": b"n"}, local_files=("etc/x/local",)).tree
    assert status_of(host) == before
    assert read_content(tree[bytes(host)[1:] + b"/x/new"]) == b"n"
    assert tree[bytes(host)[1:] + b"/x/local"].type == LINK


# Local files


def test_local_files_live_on_var_and_bring_their_content(staged) -> None:
    files = EL5 | {"etc/app/one": b"1", "etc/app/two": b"2", "etc/state/a/b": b"ab"}
    tree = staged(
        files, local_files=("etc/sysconfig/network", "/etc/app/one", "etc/state", "etc/none/new")
    ).tree
    assert tree[b"etc/app/one"] == symlink(b"../../var/lib/plugnode/files/etc/app/one")
    assert read_content(tree[b"var.ro/lib/plugnode/files/etc/app/one"]) == b"1"
    assert read_content(tree[b"etc/app/two"]) == b"2"
    assert tree[b"etc/state"] == symlink(b"../var/lib/plugnode/files/etc/state")
    assert read_content(tree[b"var.ro/lib/plugnode/files/etc/state/a/b"]) == b"ab"
    assert (
        tree[b"etc/none/new"].type == LINK
        and tree[b"var.ro/lib/plugnode/files/etc/none"] == directory()
    )
    assert read_content(tree[b"var.ro/network"]) == b"NETWORKING=yes\n"


def test_a_local_file_takes_its_content_from_the_uppermost_overlay(staged) -> None:
    tree = staged(EL5 | {"etc/app": b"old"}, {"etc/app": b"new"}, local_files=("etc/app",)).tree
    assert read_content(tree[b"var.ro/lib/plugnode/files/etc/app"]) == b"new"


def test_a_network_file_that_is_the_right_link_already_is_fine(staged) -> None:
    tree = staged(
        EL5 | {"etc/sysconfig/network": "../../var/network", "var/network": b"NETWORKING=no\n"}
    ).tree
    assert tree[b"etc/sysconfig/network"] == symlink(b"../../var/network")
    assert read_content(tree[b"var.ro/network"]) == b"NETWORKING=no\n"


@pytest.mark.parametrize(
    ("files", "paths", "message"),
    [
        ({"etc/a": "../opt/a"}, ("etc/a",), "etc/a:1:1: is a symlink to ../opt/a already"),
        ({}, ("var/lib/x",), "var/lib/x:1:1: cannot be a local file: it is the node's own already"),
        ({}, ("etc/hosts",), "etc/hosts:1:1: cannot be a local file"),
        ({"etc/d/x": b""}, ("etc/d", "etc/d/x"), "etc/d/x:1:1: lies on /var already"),
        (
            {"etc/loop": "loop"},
            ("etc/loop/x",),
            "etc/loop/x:1:1: is behind symlinks that lead in a circle",
        ),
        (
            {},
            ("etc/passwd/x",),
            "etc/passwd/x:1:1: cannot be a local file: what is above it is no folder",
        ),
        (
            {"etc/pl": "passwd"},
            ("etc/pl/x",),
            "etc/pl/x:1:1: cannot be a local file: what is above it is no folder",
        ),
    ],
)
def test_what_cannot_be_a_local_file_is_named(
    staged, tmp_path: pathlib.Path, files, paths, message: str
) -> None:
    with pytest.raises(BadInput) as bad:
        staged(SYSTEMD | files, local_files=paths)
    assert len(bad.value.problems) == 1
    assert problems(bad, tmp_path)[0].startswith(f"reference/{message}")


@pytest.mark.parametrize("name", ["var.ro/lib/data", "var.ro/lib/data/f"])
def test_an_overlays_var_ro_does_not_get_lost_behind_var(
    staged, tmp_path: pathlib.Path, name: str
) -> None:
    with pytest.raises(BadInput) as bad:
        staged(SYSTEMD | {"var/lib/data": b"a file"}, {name: b"another"})
    assert (
        f"reference/{name}:1:1: what comes of /var is in its place; in an overlay, write it as var{name[6:]}"
        in (problems(bad, tmp_path))
    )


def test_an_overlays_var_ro_beside_var_is_taken(staged) -> None:
    tree = staged(SYSTEMD | {"var/lib/data/f": b"a file"}, {"var.ro/lib/data/g": b"another"}).tree
    assert (read_content(tree[b"var.ro/lib/data/f"]), read_content(tree[b"var.ro/lib/data/g"])) == (
        b"a file",
        b"another",
    )


def test_a_folder_in_place_of_the_network_file_is_a_problem(staged) -> None:
    files = {name: what for name, what in EL5.items() if name != "etc/sysconfig/network"}
    with pytest.raises(BadInput, match="etc/sysconfig/network:1:1: is a folder in the reference"):
        staged(files | {"etc/sysconfig/network": None})


# What cannot be staged


def test_a_reference_that_cannot_be_shared_is_named_with_all_its_problems(
    staged, tmp_path: pathlib.Path
) -> None:
    files = {name: what for name, what in SYSTEMD.items() if not name.startswith(("var/", "run"))}
    with pytest.raises(BadInput) as bad:
        staged(files | {"var": None, "var.ro/x": b"", "run": b"file"})
    assert problems(bad, tmp_path) == [
        "reference/run:1:1: is a file; make it a folder: site data is mounted there",
        "reference/var:1:1: nothing to fill /var with: empty or no folder; is it a file system of its own?",
        "reference/var.ro:1:1: is a shared root already; take a node that runs from its own disk",
    ]


def test_a_missing_var_is_not_filled_with_nothing(staged) -> None:
    files = {name: what for name, what in SYSTEMD.items() if not name.startswith("var/")}
    with pytest.raises(BadInput, match="reference/var:1:1: nothing to fill /var with: missing"):
        staged(files, {"var/x": b""})


def test_an_rc_sysinit_without_its_line_is_named(staged) -> None:
    with pytest.raises(
        BadInput, match=r"reference/etc/rc.d/rc.sysinit:1:1: no line running /sbin/start_udev"
    ):
        staged(EL5 | {"etc/rc.d/rc.sysinit": b"#!/bin/sh\n"})


def test_an_unknown_overlay_is_named(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "reference", SYSTEMD)
    image = Image("worker", Reference("path", str(tmp_path / "reference")), overlays=("sites",))
    with pytest.raises(BadInput, match="overlays/sites:1:1: no such overlay"):
        stage(image, scan(tmp_path / "reference").tree, (REPOSITORY,))


@pytest.mark.parametrize("circle", ["etc", "sbin"])
def test_a_reference_whose_folders_lead_in_a_circle_is_a_problem(staged, circle: str) -> None:
    files = {
        name: what
        for name, what in SYSTEMD.items()
        if not name.startswith((circle, "usr/sbin/init"))
    }
    with pytest.raises(
        BadInput, match=f"{circle}/.*:1:1: is behind symlinks that lead in a circle"
    ):
        staged(files | {circle: f"/{circle}"})


# Secrets

PLANTED = """
etc/ssh/ssh_host_rsa_key etc/ssh/ssh_host_dsa_key.pub etc/ssh/ssh_host_key etc/ssh_host_rsa_key
root/.ssh/id_rsa root/.ssh/known_hosts root/.ssh/authorized_keys root/.ssh/deep/key opt/svc/.ssh/id_ecdsa
home/alice/.ssh/id_rsa home/alice/thesis.tex etc/grid-security/hostkey.pem etc/grid-security/hostcert.pem
etc/grid-security/hostkey.pem.bak etc/grid-security/containerkey.pem etc/grid-security/xrd/xrdkey.pem
etc/grid-security/http/key.pem etc/grid-security/tomcat-key.pem tmp/x509up_u500 var/tmp/x509up_u501 opt/x509up_u502
var/lib/globus/cred root/.globus/userkey.pem etc/krb5.keytab etc/http.keytab etc/krb5.keytab.old var/kerberos/principal
etc/munge/munge.key etc/munge/munge.key.old etc/condor/passwords.d/POOL etc/condor/pool_password
var/lib/condor/pool_password var/lib/condor/tokens.d/t etc/condor/tokens.d/t etc/slurm/slurmdbd.conf
etc/slurm/jwt_hs256.key etc/cvmfs/keys/my.masterkey etc/cvmfs/keys/my.gw etc/iscsi/initiatorname.iscsi etc/nvme/hostnqn
etc/NetworkManager/system-connections/wifi etc/wpa_supplicant/wpa.conf etc/ppp/chap-secrets etc/ipsec.secrets
etc/wireguard/wg0.conf etc/puppet/ssl/private_keys/x.pem var/lib/puppet/ssl/x.pem var/cfengine/ppkeys/localhost.priv
etc/chef/client.pem etc/salt/pki/minion/minion.pem etc/sysconfig/rhn/systemid etc/pki/consumer/key.pem
etc/pki/entitlement/1-key.pem etc/pki/tls/private/localhost.key etc/pki/CA/private/ca.key etc/ssl/private/x.key
opt/app/store.p12 opt/app/store.pfx opt/app/store.jks etc/pki/nssdb/key3.db etc/openldap/certs/key3.db etc/ldap.secret
var/lib/ipa-client/x var/lib/sss/secrets/x var/lib/sss/db/cache.ldb etc/cups/printers.conf etc/exim/passwd
etc/postfix/sasl_passwd etc/snmp/snmpd.conf var/lib/net-snmp/snmpd.conf etc/ipmi.conf etc/my.cnf.d/root.cnf
root/.my.cnf root/.pgpass root/.netrc root/.aws/credentials root/.docker/config.json root/.gnupg/secring.gpg
root/.kube/config root/.bash_history root/.viminfo root/.mysql_history root/anaconda-ks.cfg root/install.log
var/log/messages var/log/audit/audit.log var/log/secure.1 var/log/anaconda.log var/spool/cron/root var/spool/mail/root
var/spool/at/job var/spool/mqueue/m var/crash/vmcore var/cache/yum/x var/lib/random-seed var/lib/systemd/random-seed
etc/security/opasswd etc/shadow- etc/gshadow- etc/passwd- etc/shadow.bak etc/shadow.rpmsave var/backups/shadow.bak
etc/fstab.bak etc/app.conf~ root/notes.bak etc/udev/rules.d/70-persistent-net.rules var/lib/dhclient/dhclient.leases
etc/crypttab var/lib/dbus/machine-id var/spool/slurmd/cred_state etc/letsencrypt/live/x/privkey.pem swapfile core.123
run/secret dev/shm/secret var/lib/docker/x proc/kcore etc/sasldb2 etc/samba/smbpasswd media/usb/x mnt/x
etc/adjtime etc/ncm-x etc/ipa/x etc/#x# opt/x.rpmsave var/spool/postfix/x
boot/grub/grub.cfg etc/hostid
"""


def planted(root: pathlib.Path) -> dict[str, bytes]:
    """A reference with a canary in every place that is to be left out: name -> canary."""
    canaries = {name: secrets.token_hex(24).encode() for name in PLANTED.split()}
    files = {name: what for name, what in SYSTEMD.items() if name not in canaries}
    fill(root, files | {name: b"-- " + canary + b" --\n" for name, canary in canaries.items()})
    for name in ("shadow", "gshadow"):
        canaries[name] = secrets.token_hex(43).encode()  # as long as a hash
        fill(root, {f"etc/{name}": b"root:$6$salt$" + canaries[name] + b":1::\n"})
    canaries["linked"] = secrets.token_hex(24).encode()
    key = "srv/real/key"
    fill(root, {key: canaries["linked"] + b"\n", "etc/ssh/ssh_host_ed25519_key": f"/{key}"})
    return canaries


def copy_elsewhere(root: pathlib.Path) -> None:
    (root / "usr/share/x").mkdir(parents=True)
    os.link(root / "etc/munge/munge.key", root / "usr/share/x/hard-link")
    host_key = (root / "etc/grid-security/hostkey.pem").read_bytes()
    (root / "opt/copy.of.hostkey").write_bytes(host_key)


def test_no_canary_leaves_the_reference(staged, tmp_path: pathlib.Path) -> None:
    canaries = planted(tmp_path / "reference")
    copy_elsewhere(tmp_path / "reference")
    assert len(canaries) > 100
    made = staged({})
    held = [(b"notes", json.dumps(made.notes).encode())]
    for path, entry in made.tree.items():
        held.append((path, read_content(entry) if entry.type == FILE else entry.link))
    leaked = []
    for path, data in held:
        leaked += [(name, path) for name, canary in canaries.items() if canary in data]
    assert leaked == []
    assert {
        "etc/munge/munge.key",
        "usr/share/x/hard-link",
        "opt/copy.of.hostkey",
        "srv/real/key",
        "etc/shadow",
    } <= {note[0] for note in made.notes["scrubbed"]}


def test_keep_brings_a_secret_into_the_export(staged) -> None:
    files = SYSTEMD | {
        "etc/krb5.keytab": b"k",
        "var/lib/condor/pool_password": b"p",
        "home/svc/x": b"x",
    }
    tree = staged(files, keep=("etc/krb5.keytab", "var/lib/condor/pool_password", "home/svc")).tree
    assert {b"etc/krb5.keytab", b"var.ro/lib/condor/pool_password", b"home/svc/x"} < set(tree)


def test_notes_list_what_a_reviewer_asks_about(staged, tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "reference", SYSTEMD | {"opt/su": b"", "opt/private": b"", "opt/capable": b"x"})
    os.chmod(tmp_path / "reference/opt/su", 0o4755)
    os.chmod(tmp_path / "reference/opt/private", 0o640)
    os.chown(tmp_path / "reference/opt/capable", 1234, 4321)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
    os.setxattr(tmp_path / "reference/opt/capable", "security.capability", capability)
    for name, kind, number in [
        ("disk", stat.S_IFBLK, (8, 0)), ("null", stat.S_IFCHR, (1, 3)), ("mem", stat.S_IFCHR, (1, 1)),
    ]:  # fmt: skip
        path = tmp_path / "reference/opt" / name
        os.mknod(path, kind | 0o600, os.makedev(*number))
        os.chmod(path, 0o666)
    notes = staged({}).notes
    assert notes["open_devices"] == ["opt/disk", "opt/mem"]
    assert notes["setuid"] == ["opt/su"]
    assert notes["not_world_readable"] == ["opt/private"]
    assert notes["capabilities"] == ["opt/capable"] and "setuid" in notes["capabilities_remedy"]
    assert (notes["unknown_users"], notes["unknown_groups"]) == ([1234], [4321])
    assert notes["init"] == "systemd"
    json.dumps(notes)


def test_the_built_in_overlays_can_be_laid() -> None:
    for name in BUILT_IN_OVERLAYS:
        assert overlay.layer(os.fsencode(os.path.join(REPOSITORY, "overlays", name)), name).tree


# ---- what fills a node's folders


def var_of(**more: Entry) -> Tree:
    names = {"var.ro": directory(0o751), "var.ro/log": directory(), **more}
    return {b"": directory(), **{name.encode(): entry for name, entry in names.items()}}


def test_what_fills_var_is_one_file_but_for_what_is_large_or_has_attributes() -> None:
    acl = (("system.posix_acl_default", b"x"),)
    large = transforms.PACKED_FILE + 1
    tree = var_of(
        **{
            "var.ro/log/journal": directory()._replace(xattrs=acl),
            "var.ro/log/journal/system": generated_file(b"journal"),
            "var.ro/log/last": generated_file(b"last"),
            "var.ro/lib": directory(),
            "var.ro/lib/large": Entry(FILE, 0o644, 0, 0, size=large, source=b"/is/not/read"),
        }
    )
    made = transforms.pack(tree, ["/var.ro", "/none.ro"])
    assert {path: made[path] for path in tree} == tree
    assert read_content(made[b"var.ro.rest"]) == b"lib/large\nlog/journal\n"
    with tarfile.open(fileobj=io.BytesIO(read_content(made[b"var.ro.tar.gz"]))) as tar:
        assert tar.getnames() == [".", "./lib", "./log", "./log/last"]
    assert {made[name].mode for name in (b"var.ro.tar.gz", b"var.ro.rest")} == {0o600}
    assert set(made) - set(tree) == {b"var.ro.tar.gz", b"var.ro.rest", b"var.ro.kib"}
    assert int(read_content(made[b"var.ro.kib"])) == 5 * 4 + transforms.PACKED_FILE // 1024 + 4


def test_its_archive_is_bounded() -> None:
    size = transforms.PACKED_FILE
    many = {f"var.ro/log/{n:04}": generated_file(b"") for n in range(transforms.PACKED // size + 3)}
    tree = var_of(**{name: each._replace(size=size) for name, each in many.items()})
    assert len(transforms.split(tree, b"var.ro")[1]) == 3


def test_a_name_that_no_list_can_have_leaves_the_folder_as_it_is() -> None:
    odd = directory()._replace(xattrs=(("user.x", b""),))
    tree = var_of(**{"var.ro/log/new\nline": odd})
    assert transforms.pack(tree, ["/var.ro"]) == tree


# ---- file capabilities

CAPABLE = (
    ("security.capability", bytes.fromhex("0100000200200000" + "00" * 12)),
)  # cap_net_raw=ep


def test_what_nfs_does_not_carry_is_listed_for_who_can_give_it(staged) -> None:
    files = {"etc/plugnode/x": b"", "usr/bin/ping": b"\x7fELF"}
    whole = staged({**SYSTEMD, **files})
    assert b"etc/plugnode/capabilities" not in whole.tree
    entry = whole.tree[b"usr/bin/ping"]._replace(xattrs=CAPABLE)
    tree = list_capable({**whole.tree, b"usr/bin/ping": entry})
    listed = read_content(tree[b"etc/plugnode/capabilities"])
    assert listed == b"cap_net_raw=ep\t/usr/bin/ping\n"


@pytest.mark.parametrize(
    ("root", "setcap", "said"),
    [
        ("nfs", True, "usr/bin/ping: with file capabilities; NFS carries no file capabilities"),
        ("nfs-overlay", False, "usr/bin/ping: with file capabilities; nodes give them to files"),
        ("nfs-overlay", True, ""),
    ],
)
def test_they_are_said_to_be_lost_where_they_are(root: str, setcap: bool, said: str) -> None:
    image = Image("worker", Reference("path", "/"), root=root)
    lines = lost_capabilities(image, {"capabilities": ["usr/bin/ping"], "setcap": setcap})
    assert "".join(lines).startswith(said) and bool(lines) == bool(said)
