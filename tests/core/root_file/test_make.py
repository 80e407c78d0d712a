"""A root file: the same bytes of the same root, with all that is in it, less what is left out."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from tasks.core.base.errors import Refused
from tasks.core.initrd import build
from tasks.core.release import Release, id_of
from tasks.core.root_file import contents, make
from tasks.core.scan.reader import scan
from tests.support.initrd_images import SITE, image, kernel, kernel_files, of_files

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and owners need root")
ACL = "user::rwx,user:1234:r-x,group::r-x,mask::r-x,other::---"


def root_of(folder: pathlib.Path, names: list[str]) -> pathlib.Path:
    """A root with every kind of entry, made in the order of `names`."""
    root = folder / "root"
    root.mkdir(parents=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(name) * 999)
    os.link(root / "usr/lib/a", root / "hard link")
    (root / "link").symlink_to("usr/lib/a")
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.chown(root / "usr/lib/b", 12, 34)
    os.chmod(root / "usr/lib/b", 0o4755)
    subprocess.run(["setfacl", "-m", ACL, str(root / "usr/lib")], check=True)
    subprocess.run(["setcap", "cap_net_raw+ep", str(root / "usr/bin/ping")], check=True)
    return root


NAMES = ["usr/lib/a", "usr/lib/b", "usr/bin/ping", "etc/odd\nname\udcff", "boot/vmlinuz", "var/x"]
EXTRACT = {
    "erofs": ["fsck.erofs", "--extract={to}", "{file}"],
    "squashfs": ["unsquashfs", "-no-progress", "-quiet", "-d", "{to}", "{file}"],
}


@pytest.mark.parametrize("kind", EXTRACT)
def test_the_same_root_is_the_same_file_whatever_the_order_and_the_hour(kind, tmp_path):
    made = []
    for number, names in enumerate((NAMES, NAMES[::-1])):
        folder = tmp_path / str(number)
        root = root_of(folder, names)
        os.utime(root / "usr", (number * 10**8, number * 10**8))
        (folder / ".root-file-of a killed build").mkdir()
        wanted = make.Wanted(kind, (6, 1), [b"boot/vmlinuz"])
        made.append(make.make_root_file(str(root), str(folder), wanted))
    assert made[0] == made[1] and made[0].name == f"root.{kind}"
    assert sorted(os.listdir(tmp_path / "0")) == ["root", f"root.{kind}"]
    behind = f"--hash-offset={made[0].verity_blocks * 4096}"
    check = ["veritysetup", "verify", f"root.{kind}", f"root.{kind}", made[0].verity, behind]
    subprocess.run(check, cwd=tmp_path / "1", check=True)

    to = tmp_path / "to"
    argv = [word.format(to=to, file=tmp_path / f"0/root.{kind}") for word in EXTRACT[kind]]
    subprocess.run(argv, check=True, capture_output=True)
    (tmp_path / "0/root/boot/vmlinuz").unlink()
    before, after = scan(str(tmp_path / "0/root")).tree, scan(str(to)).tree
    assert before.keys() == after.keys()
    for path, entry in before.items():
        found = after[path]._replace(xattrs=entry.xattrs)  # neither program gives them all back
        if kind == "erofs":  # it gives files away when their modes are set, which takes setuid
            found = found._replace(mode=found.mode | entry.mode & 0o6000)
        assert found.content == entry.content


def test_a_program_that_is_missing_or_fails_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(Refused, match="mkfs.erofs makes no root file: "):
        make.make_root_file(str(tmp_path / "none"), str(tmp_path), make.Wanted("erofs", (6,), []))
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(make, "find_program", lambda name: None)
    with pytest.raises(Refused, match="mkfs.erofs is not installed; install erofs-utils"):
        make.make_root_file(str(tmp_path), str(tmp_path), make.Wanted("erofs", (6,), []))


def test_a_name_that_mkfs_cuts_is_said(tmp_path):
    """Debian 12's takes 254 bytes, and says only that there is no such file."""
    name = "n" * 255
    root = root_of(tmp_path, [*NAMES, f"a/{name}"])
    try:
        made = make.make_root_file(str(root), str(tmp_path), make.Wanted("erofs", (6, 1), []))
    except Refused as error:
        assert f"a name of 255 bytes may be too long for it: a/{name}" in str(error)
    else:
        assert made.name == "root.erofs"


def test_acls_are_lost_by_squashfs_alone():
    xattrs = b"# file: var\nsystem.posix_acl_access=0x02\nsystem.posix_acl_default=0x02\n\n"
    assert make.lost_acls(xattrs, "squashfs") == 2
    assert make.lost_acls(xattrs, "erofs") == make.lost_acls(b"user.x=0x01\n", "squashfs") == 0


# --- what it leaves out

VERSION = "6.1.0-30-amd64"
NEEDS = {
    "drivers/net/e1000e.ko": "ptp",
    "drivers/net/tg3.ko": "ptp libphy",
    "drivers/net/libphy.ko": "",
    "drivers/ptp/ptp.ko": "pps",
    "drivers/pps/pps.ko": "",
    "drivers/nvme/nvme.ko": "",
    "drivers/net/virtio_net.ko": "",
    "sound/snd.ko": "",
    "net/sound_of.ko": "snd",
    "fs/ext4/ext4.ko": "",
}
BELOW = f"lib/modules/{VERSION}/kernel/"


def test_used_modules_are_those_of_the_sites_cards_and_all_that_is_no_card():
    """A module of the network stack keeps the sound that it needs, tg3's libphy goes with it."""
    assert left_out(root_modules="used") == [
        BELOW + "drivers/net/libphy.ko",
        BELOW + "drivers/net/tg3.ko",
    ]
    assert left_out() == []


def test_patterns_leave_out_whole_folders_and_what_they_keep_stays():
    assert left_out(root_exclude=("/boot/*",)) == [f"boot/vmlinuz-{VERSION}"]
    assert left_out(root_exclude=("+ nvme.ko", "drivers/n*/*", "fs/")) == [
        *(BELOW + f"drivers/net/{name}.ko" for name in ("e1000e", "libphy", "tg3", "virtio_net")),
        BELOW + "fs",
    ]


def left_out(**settings) -> list[str]:
    tree = of_files(kernel_files(VERSION, NEEDS))
    wanted = image(modules=("e1000e",))._replace(root="ram", **settings)
    recipe = build.recipe_of(wanted, tree, kernel(VERSION), (), SITE)
    return [os.fsdecode(path) for path in contents.left_out(tree, wanted, recipe)]


def test_a_root_file_is_one_more_part_of_the_id_and_nothing_else_changes_it():
    over_nfs = Release("", "worker", "quiet", *["0" * 64] * 4, "6.1.0", "own", 1, 1)
    assert id_of(over_nfs._replace(verity="1", root_bytes=7)) == id_of(over_nfs)
    one, other = (over_nfs._replace(root_file=digit * 64) for digit in "12")
    assert len({id_of(over_nfs), id_of(one), id_of(other)}) == 3
    assert id_of(one._replace(root_kind="ram")) == id_of(one)
