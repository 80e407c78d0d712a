"""References: nodes over a real ssh, archives, package lists; and what a pull leaves behind when it is stopped."""

from __future__ import annotations

import copy
import io
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
from functools import partial

import pytest

from tasks.core.base.errors import BadInput, Refused
from tasks.core.base.process import Throttle
from tasks.core.reference import apt_sources, archive, bootstrap, kinds, snapshot
from tasks.core.reference.exclude import bounds
from tasks.core.reference.pull import pull_reference
from tasks.core.reference.snapshot import Snapshot
from tasks.core.scan import reader
from tasks.core.scan.content import read_through
from tasks.core.secret_scan import find
from tasks.core.site.model import Image, Reference
from tasks.core.unpack import tar
from tests.support import sample_site
from tests.support.commands import REPOSITORY

WHOLE = [snapshot.INDEX, snapshot.COMPLETE, "tree"]  # what a snapshot's folder holds

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def run(*argv: str, **options) -> str:
    return subprocess.run(argv, check=True, capture_output=True, **options).stdout.decode(
        errors="backslashreplace"
    )


def image(kind: str, where: object = "", **more) -> Image:
    fields = {name: more.pop(name) for name in ("suite", "packages", "mirror") if name in more}
    return Image("worker", Reference(kind, str(where), **fields), **more)


def pull(what: Image, folder: pathlib.Path) -> list[str]:
    said: list[str] = []
    pull_reference(what, str(folder), said.append)
    return said


def pull_until(last: str, what: Image, folder: pathlib.Path) -> None:
    """A pull that ends where it would call that function, given with its module."""

    def ended(*_: object, **__: object) -> None:
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(f"tasks.core.reference.{last}", ended)
        with pytest.raises(InterruptedError):
            pull(what, folder)


def pulling(what: str, folder: pathlib.Path) -> str:
    """A program of this repository that pulls a reference, to be killed."""
    return (
        "from tasks.core.reference import pull as reference\nfrom tasks.core.site.model import Image, Reference\n"
        f"reference.pull_reference(Image('worker', {what}, also=()), {str(folder)!r}, print)\n"
    )


def until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def refusal(what: Image, folder: pathlib.Path) -> str:
    with pytest.raises((Refused, BadInput)) as caught:
        pull(what, folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def listing(tree: pathlib.Path, links: str = "%n") -> str:
    """Everything that a root file system is made of, as text."""
    lines = run(
        "find", ".", "-mindepth", "1", "-printf", rf"%P %y %m %U %G {links} %l %T@ %s\n", cwd=tree
    ).splitlines()
    lines = [
        line.rpartition(" ")[0] if " d " in line else line for line in lines
    ]  # a folder's size is its disk's
    return (
        "\n".join(sorted(lines))
        + run("getfacl", "-nRp", ".", cwd=tree)
        + run("getfattr", "-Rhd", "-m-", ".", cwd=tree)
    )


def fill(tree: pathlib.Path) -> None:
    """A small root that holds one of everything."""
    for folder in ("etc", "usr/bin", "dev", "tmp", "boot", "var/log", "root/.ssh", "scratch/job1"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc/motd").write_text("wn-ref\n")
    (tree / "etc/shadow").write_text("root:*:1::::::\n")
    os.chmod(tree / "etc/shadow", 0o640)
    os.chown(tree / "etc/shadow", 0, 42)
    (tree / "etc/ssh_host").mkdir()
    (tree / "scratch/job1/data").write_text("of a job\n")
    (tree / "usr/bin/su").write_bytes(b"\x7fELF")
    os.chmod(tree / "usr/bin/su", 0o4755)
    os.link(tree / "usr/bin/su", tree / "usr/bin/su-too")
    os.chown(tree / "usr/bin/su", 0, 4000000000)
    os.chmod(tree / "usr/bin/su", 0o4755)
    os.symlink("usr/bin", tree / "bin")
    os.symlink("/nowhere", tree / "etc/dangling")
    os.lchown(tree / "etc/dangling", 7, 8)
    os.mknod(tree / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "dev/sda", stat.S_IFBLK | 0o660, os.makedev(8, 0))
    os.mkfifo(tree / "dev/initctl", 0o600)
    os.chmod(tree / "tmp", 0o1777)
    (tree / "etc/name with space").write_text("x")
    (tree / "etc/größe").write_text("x")
    with open(os.fsencode(tree) + b"/etc/raw-\xff\xfe", "wb") as file:
        file.write(b"x")
    with open(tree / "var/log/lastlog", "wb") as file:
        file.truncate(50_000_000)
        file.seek(1_000_000)
        file.write(b"here")
    os.setxattr(tree / "etc/motd", "user.note", b"a note")
    os.setxattr(
        tree / "usr/bin/su-too",
        "security.capability",
        bytes.fromhex("0100000200040000000000000000000000000000"),
    )
    run("setfacl", "-m", "u:1234:r", str(tree / "etc/motd"))
    run("setfacl", "-d", "-m", "g:77:rwx", str(tree / "var/log"))


@pytest.fixture
def node(tmp_path: pathlib.Path) -> pathlib.Path:
    tree = tmp_path / "node"
    tree.mkdir()
    fill(tree)
    return tree


@pytest.fixture(scope="module")
def sshd(tmp_path_factory) -> dict:
    """An ssh server of the test's own on loopback: its folder, and what RSYNC_RSH must say to reach it."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "stranger"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin yes\nMaxStartups 50\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    )
    (folder / "ssh_config").write_text(
        f"Host *\n  Port {port}\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n"
    )
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield {"folder": folder, "port": port, "rsh": f"ssh -F {folder}/ssh_config"}
    server.terminate()
    server.wait()


@pytest.fixture
def over_ssh(sshd, monkeypatch) -> dict:
    monkeypatch.setenv("RSYNC_RSH", sshd["rsh"])
    return sshd


@needs_root
def test_a_node_is_pulled_with_everything_that_a_root_holds(node, over_ssh, tmp_path):
    pull(image("rsync", f"root@127.0.0.1:{node}/"), tmp_path / "snap")
    assert listing(tmp_path / "snap/tree") == listing(node)
    sparse = os.stat(tmp_path / "snap/tree/var/log/lastlog")
    assert sparse.st_blocks * 512 < 2_000_000 < sparse.st_size
    assert stat.S_IMODE(os.stat(tmp_path / "snap").st_mode) == 0o700


@needs_root
def test_a_second_pull_brings_only_what_changed_and_leaves_the_old_files_alone(
    node, over_ssh, tmp_path
):
    what, snap = image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap"
    pull(what, snap)
    before = {
        path: os.lstat(snap / "tree" / path) for path in ("usr/bin/su", "etc/motd", "etc/shadow")
    }
    held = os.open(snap / "tree/etc/shadow", os.O_RDONLY)
    mark = (snap / snapshot.COMPLETE).read_text()
    os.unlink(node / "scratch/job1/data")
    (node / "etc/motd").write_text("wn-new\n")
    os.chmod(node / "etc/shadow", 0o600)
    pull(what, snap)
    assert listing(snap / "tree") == listing(node)
    assert os.lstat(snap / "tree/usr/bin/su").st_ino == before["usr/bin/su"].st_ino
    assert os.lstat(snap / "tree/etc/motd").st_ino != before["etc/motd"].st_ino
    assert (
        stat.S_IMODE(os.fstat(held).st_mode) == 0o640
    )  # whoever linked to the old file keeps it as it was
    assert (snap / snapshot.COMPLETE).read_text() != mark
    assert sorted(os.listdir(snap)) == WHOLE
    os.close(held)


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The sizes of files that scans read."""
    sizes, through = list[int](), read_through
    monkeypatch.setattr(
        reader,
        "read_through",
        lambda fd, status, *tell: sizes.append(status.st_size) or through(fd, status, *tell),
    )
    return sizes


@needs_root
def test_each_file_of_a_node_is_read_once_when_it_is_pulled(node, over_ssh, tmp_path, read):
    what, snap = image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap"
    files = [path for path in node.rglob("*") if path.is_file() and not path.is_symlink()]
    pull(what, snap)
    assert len(read) == len(files) - 1  # lastlog is emptied whatever is in it
    known = [str(snap / "tree"), str(snap / snapshot.INDEX)]
    scanned = reader.scan(
        *known, bounds(what)._replace(owned=True, judge=find.scanner())
    )  # as the build does
    assert scanned.tree.keys() >= {os.fsencode(path.relative_to(node)) for path in files}
    (node / "etc/motd").write_text("another\n")
    del read[:]
    pull(what, snap)
    assert read == [8]
    again = reader.scan(*known, bounds(what)._replace(owned=True, judge=find.scanner())).tree
    changed = [path for path, entry in again.items() if entry.content != scanned.tree[path].content]
    assert (read, changed) == ([8], [b"etc/motd"])


@needs_root
def test_what_is_known_of_files_is_forgotten_when_they_go(node, tmp_path, read, monkeypatch):
    """Others may have their inodes, with the same size and time."""
    what, snap = image("archive", packed(node, tmp_path / "root.tar")), tmp_path / "snap"
    pull(what, snap)
    del read[:]
    os.rename(snap / "tree", tmp_path / "gone")
    pull(what, snap)
    files = [path for path in node.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(read) == len(files) - 1  # all but lastlog
    (snap / "tree").rename(snap / "kept")
    monkeypatch.setattr("tasks.core.reference.snapshot.clear", lambda folder: None)  # killed here
    Snapshot(str(snap)).discard()
    assert sorted(os.listdir(snap)) == ["kept"]


@needs_root
@pytest.mark.parametrize(
    "last", ["pull.scan", "pull.sync", "snapshot.exchange", "snapshot.sync_folder"]
)
def test_a_pull_that_ends_anywhere_is_followed_by_one_that_brings_what_is_asked_for(
    node, tmp_path, last
):
    archive, snap = tmp_path / "root.tar", tmp_path / "snap"
    pull(what := image("archive", packed(node, archive)), snap)
    old = archive.read_bytes()
    (node / "etc/motd").write_text("wn-two\n")
    packed(node, archive)
    pull_until(last, what, snap)
    archive.write_bytes(old)
    pull(what, snap)
    assert (snap / "tree/etc/motd").read_text() == "wn-ref\n"
    found = reader.scan(
        str(snap / "tree"),
        str(snap / snapshot.INDEX),
        bounds(what)._replace(owned=True, judge=find.scanner()),
    )
    assert (
        found.tree
        == reader.scan(str(snap / "tree"), options=bounds(what)._replace(owned=True)).tree
    )


@needs_root
@pytest.mark.parametrize("last", ["pull.sync", "snapshot.exchange", "snapshot.sync_folder"])
def test_a_pull_that_is_killed_leaves_the_old_snapshot_or_the_new_one_marked_as_what_it_is(
    node, over_ssh, tmp_path, last
):
    what, snap = image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap"
    pull(what, snap)
    before = (snap / snapshot.COMPLETE).read_text()
    (node / "etc/motd").write_text("wn-two\n")
    pull_until(last, what, snap)
    Snapshot(str(snap)).settle()
    is_new = (snap / "tree/etc/motd").read_text() == "wn-two\n"
    assert (
        is_new
        == (last == "snapshot.sync_folder")
        == ((snap / snapshot.COMPLETE).read_text() != before)
    )
    found = reader.scan(
        str(snap / "tree"),
        str(snap / snapshot.INDEX),
        bounds(what)._replace(owned=True, judge=find.scanner()),
    )
    assert (
        found.tree
        == reader.scan(str(snap / "tree"), options=bounds(what)._replace(owned=True)).tree
    )
    pull(what, snap)
    assert listing(snap / "tree") == listing(node) and sorted(os.listdir(snap)) == WHOLE


@needs_root
def test_secrets_and_what_the_image_leaves_out_never_travel(node, over_ssh, tmp_path):
    (node / "etc/ssh").mkdir()
    (node / "etc/ssh/ssh_host_rsa_key").write_text("a secret")
    (node / "root/.ssh/id_rsa").write_text("a secret")
    what = image("rsync", f"root@127.0.0.1:{node}", exclude=("/scratch/*", "*.rpmnew"))
    pull(what, tmp_path / "snap")
    assert not (tmp_path / "snap/tree/etc/ssh/ssh_host_rsa_key").exists()
    assert not (tmp_path / "snap/tree/root/.ssh/id_rsa").exists()
    assert os.listdir(tmp_path / "snap/tree/scratch") == []


@pytest.fixture
def mounts(node):
    """Other file systems at var and net of the node."""
    done = []
    for place in ("boot", "net"):
        (node / place).mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", str(node / place))
        done.append(node / place)
        (node / place / "inside").write_text("on another file system\n")
    yield
    for place in done:
        run("umount", str(place))


@needs_root
def test_only_the_file_systems_that_are_named_come_along(node, mounts, over_ssh, tmp_path):
    where = f"root@127.0.0.1:{node}"
    pull(image("rsync", where, also=("/boot", "/var")), tmp_path / "named")
    assert (tmp_path / "named/tree/boot/inside").exists() and os.listdir(
        tmp_path / "named/tree/net"
    ) == []
    pull(image("rsync", where), tmp_path / "unnamed")  # a tmpfs is no local disk
    assert os.listdir(tmp_path / "unnamed/tree/boot") == []
    pull(image("rsync", where, also=("/boot",), exclude=("/boot/inside",)), tmp_path / "excluded")
    assert os.listdir(tmp_path / "excluded/tree/boot") == []


@needs_root
def test_a_file_system_of_a_local_disk_at_boot_comes_along_by_itself(node, over_ssh, tmp_path):
    disk = tmp_path / "disk.img"
    with open(disk, "wb") as file:
        file.truncate(8_000_000)
    run("mkfs.ext4", "-q", str(disk))
    run("mount", "-o", "loop", str(disk), str(node / "boot"))
    try:
        (node / "boot/vmlinuz").write_text("a kernel")
        pull(image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap")
        assert (tmp_path / "snap/tree/boot/vmlinuz").read_text() == "a kernel"
        pull(image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap")
        assert (tmp_path / "snap/tree/boot/vmlinuz").read_text() == "a kernel"
    finally:
        run("umount", str(node / "boot"))


@needs_root
def test_a_file_system_of_which_nothing_comes_along_is_named(node, over_ssh, tmp_path):
    """EL's hardening guides put /var/log on a disk of its own, and services lack their folders."""
    places = [node / "var/log", node / "home", node / "scratch"]
    for number, place in enumerate(places):
        with open(tmp_path / f"{number}.img", "wb") as file:
            file.truncate(8_000_000)
        run("mkfs.ext4", "-q", file.name)
        place.mkdir(exist_ok=True)
        run("mount", "-o", "loop", file.name, str(place))
    try:
        where = f"root@127.0.0.1:{node}"
        said = pull(image("rsync", where, exclude=("/scratch/*",)), tmp_path / "snap")
        what = f"of their own, which are not pulled: {places[0]}; name under `also` those"
        assert [line for line in said if what in line] != []
        said = pull(image("rsync", where, also=("/var/log",)), tmp_path / "named")
        assert "not pulled" not in "".join(said)
    finally:
        for place in places:
            run("umount", str(place))


def config_of(sshd: dict, tmp_path: pathlib.Path, **changes: object) -> str:
    """The test's ssh, with settings changed."""
    settings = "".join(f"{name} {value}\n" for name, value in changes.items())
    path = tmp_path / "ssh_config"
    path.write_text(settings + (sshd["folder"] / "ssh_config").read_text())
    return f"ssh -F {path}"


@needs_root
@pytest.mark.parametrize(
    "changes, words",
    [
        ({"Port": 1}, "cannot be reached: Connection refused"),
        (
            {"IdentityFile": "{folder}/stranger", "IdentitiesOnly": "yes"},
            "lets nobody in without a password",
        ),
        ({"UserKnownHostsFile": "/dev/null"}, "host key is not known here"),
        ({"UserKnownHostsFile": "{folder}/wrong_hosts"}, "host key is not the one that is known"),
        ({"ProxyCommand": "ssh -F /dev/null no-such-host.invalid"}, "name is not known"),
    ],
    ids=[
        "nobody listens",
        "a key that is not let in",
        "unknown host key",
        "changed host key",
        "unknown name",
    ],
)
def test_a_node_that_cannot_be_reached_is_one_line(
    changes, words, node, sshd, tmp_path, monkeypatch
):
    folder = sshd["folder"]
    (folder / "wrong_hosts").write_text(
        f"[127.0.0.1]:{sshd['port']} {(folder / 'stranger.pub').read_text()}"
    )
    changes = {name: str(value).format(folder=folder) for name, value in changes.items()}
    if "IdentityFile" in changes:  # ssh tries every IdentityFile that it is given
        (tmp_path / "only").write_text(
            (folder / "ssh_config").read_text().replace(f"{folder}/user", f"{folder}/stranger")
        )
        monkeypatch.setenv("RSYNC_RSH", f"ssh -F {tmp_path}/only")
    else:
        monkeypatch.setenv("RSYNC_RSH", config_of(sshd, tmp_path, **changes))
    text = refusal(image("rsync", f"root@127.0.0.1:{node}"), tmp_path / "snap")
    assert words in text and text.startswith("root@127.0.0.1")
    assert not (tmp_path / "snap" / snapshot.COMPLETE).exists()
    assert words in refusal(
        image("rsync", f"root@127.0.0.1:{node}", also=()), tmp_path / "snap"
    )  # rsync's own ssh


@needs_root
def test_a_folder_that_is_not_there_is_one_line(over_ssh, tmp_path):
    assert "/no/such: No such file" in refusal(
        image("rsync", "root@127.0.0.1:/no/such"), tmp_path / "snap"
    )


@needs_root
def test_a_node_without_rsync_is_one_line(node, over_ssh, tmp_path):
    keys = over_ssh["folder"] / "authorized_keys"
    plain = keys.read_text()
    try:
        keys.write_text(f'command="PATH=/nowhere; eval \\"$SSH_ORIGINAL_COMMAND\\"" {plain}')
        text = refusal(image("rsync", f"root@127.0.0.1:{node}", also=()), tmp_path / "snap")
    finally:
        keys.write_text(plain)
    assert "it has no rsync" in text


@needs_root
def test_files_that_may_not_be_read_are_named_and_the_old_snapshot_stays(node, over_ssh, tmp_path):
    what, snap = image("rsync", f"root@127.0.0.1:{node}", also=()), tmp_path / "snap"
    pull(what, snap)
    old = listing(snap / "tree", links="")
    (node / "etc/shadow").write_text("root:*:2::::::\n")
    keys = over_ssh["folder"] / "authorized_keys"
    plain = keys.read_text()
    try:  # the node's rsync runs as somebody who may not read etc/shadow
        keys.write_text(
            f'command="setpriv --reuid=65534 --regid=65534 --clear-groups $SSH_ORIGINAL_COMMAND" {plain}'
        )
        for folder in (tmp_path, *tmp_path.parents):
            if folder.owner() == "root" and str(folder).startswith("/tmp/"):
                os.chmod(folder, os.stat(folder).st_mode | 0o055)
        text = refusal(what, snap)
    finally:
        keys.write_text(plain)
    assert "etc/shadow (Permission denied)" in text and "usr/bin" not in text
    assert (
        listing(snap / "tree", links="") == old
    )  # what came of the new one lies beside it, and shares files with it


@needs_root
def test_a_pull_that_is_killed_leaves_the_old_snapshot_and_the_next_one_ends_it(
    node, over_ssh, tmp_path
):
    snap = tmp_path / "snap"
    what = f"root@127.0.0.1:{node}"
    program = pulling(f"Reference('rsync', {what!r})", snap)
    for number in range(300):
        (node / f"var/log/{number}").write_bytes(os.urandom(20_000))
    seen = set()
    for delay in (0.2, 0.3, 0.4, 0.5, 0.7):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        whole = (snap / snapshot.COMPLETE).exists()
        seen.add(whole)
        if whole:
            assert len(os.listdir(snap / "tree/var/log")) == 301
    pull(image("rsync", what, also=()), snap)
    assert listing(snap / "tree") == listing(node)
    assert sorted(os.listdir(snap)) == WHOLE


@needs_root
def test_a_node_whose_rsync_is_too_old_for_acls_is_pulled_without_them(node, over_ssh, tmp_path):
    keys = over_ssh["folder"] / "authorized_keys"
    plain = keys.read_text()
    old = '#!/bin/sh\nset -- $SSH_ORIGINAL_COMMAND\ncase $4 in *A*) echo "rsync: $4: unknown option" >&2; exit 1;; esac\n'
    (tmp_path / "old").write_text(old + 'exec "$@"\n')
    os.chmod(tmp_path / "old", 0o755)
    try:
        keys.write_text(f'command="{tmp_path}/old" {plain}')
        said = pull(image("rsync", f"root@127.0.0.1:{node}", also=()), tmp_path / "snap")
    finally:
        keys.write_text(plain)
    assert any("too old for ACLs" in line for line in said)
    assert (tmp_path / "snap/tree/etc/motd").read_text() == "wn-ref\n"


# ---------------------------------------------------------------- archives


def packed(node: pathlib.Path, path: pathlib.Path, *words: str) -> pathlib.Path:
    run(
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--sparse",
        "--numeric-owner",
        *words,
        "-cf",
        str(path),
        ".",
        cwd=node,
    )
    return path


@needs_root
@pytest.mark.parametrize("how", ["", "--gzip", "--xz", "--zstd", "--bzip2"])
def test_an_archive_is_unpacked_with_everything_that_a_root_holds(how, node, tmp_path):
    path = packed(node, tmp_path / "root.tar", "--format=pax", *filter(None, [how]))
    assert len(pull(image("archive", path), tmp_path / "snap")) == 1
    assert listing(tmp_path / "snap/tree") == listing(node)
    assert os.stat(tmp_path / "snap/tree/var/log/lastlog").st_blocks * 512 < 2_000_000


@needs_root
def test_a_gnu_archive_keeps_names_of_any_bytes_in_any_locale(node, tmp_path):
    path = packed(node, tmp_path / "root.tar", "--format=gnu", "--no-xattrs", "--no-acls")
    program = "import sys; from tasks.core.reference import archive; archive.unpack"
    (tmp_path / "out").mkdir()
    posix = {**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}
    run(
        sys.executable,
        "-c",
        f"{program}({str(path)!r}, sys.argv[1])",
        str(tmp_path / "out"),
        cwd=REPOSITORY,
        env=posix,
    )
    assert sorted(os.listdir(os.fsencode(tmp_path / "out/etc"))) == sorted(
        os.listdir(os.fsencode(node / "etc"))
    )


COMPOSED, DECOMPOSED = "caf\u00e9".encode(), "cafe\u0301".encode()
FOREIGN = [
    "\u1100\u1161".encode(),
    "\uac00".encode(),
    "\u212b".encode(),
    b"latin-\xe9",
    b"\xed\xa0\x80",
]


@needs_root
def test_names_in_an_archive_are_bytes_and_those_that_look_alike_stay_two(tmp_path):
    root = os.fsencode(tmp_path / "root")
    for name in (COMPOSED, DECOMPOSED, *FOREIGN):
        os.makedirs(root + b"/" + name)
        for place in (name + b"/" + name, name + b".txt"):
            pathlib.Path(os.fsdecode(root + b"/" + place)).write_bytes(name)
        os.symlink(name, root + b"/" + name + b".link")
        os.link(root + b"/" + name + b".txt", root + b"/" + name + b".hard")
    path = packed(tmp_path / "root", tmp_path / "root.tar", "--format=pax")
    assert len(pull(image("archive", path), tmp_path / "snap")) == 1
    assert listing(tmp_path / "snap/tree") == listing(tmp_path / "root")


def with_acls(root: pathlib.Path) -> pathlib.Path:
    """Files and folders whose ACLs name games and mail, which the root has by other numbers."""
    for folder in ("etc", "journal/inner"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\ngames:x:4242:60::/:\n")
    (root / "etc/group").write_text("root:x:0:\nmail:x:4343:\n")
    (root / "journal/file").write_text("x")
    run("setfacl", "-m", "u:games:rwx,g:mail:r", "journal", "journal/file", cwd=root)
    run("setfacl", "-m", "d:g:mail:rx,u:99999:r", "journal/inner", cwd=root)
    return root


def unpacked_acls(root: pathlib.Path, folder: pathlib.Path, *words: str) -> tuple[list[str], str]:
    run("tar", *words, "--format=pax", "-cf", f"{root}.tar", ".", cwd=root)
    said = pull(image("archive", f"{root}.tar"), folder)
    return said[1:], run("getfacl", "-nRp", "journal", cwd=folder / "tree")


@needs_root
def test_an_acl_of_an_archive_is_of_whom_the_archives_own_passwd_names(tmp_path):
    said, acls = unpacked_acls(with_acls(tmp_path / "root"), tmp_path / "snap", "--acls")
    assert said == []
    assert acls.count("user:4242:rwx") == 2 and acls.count("group:4343:r--") == 2
    assert acls.count("default:group:4343:r-x") == 1 and acls.count("user:99999:r--") == 1


@needs_root
def test_an_acl_that_names_nobody_of_the_archive_is_said_with_its_path(tmp_path):
    root = with_acls(tmp_path / "root")
    (root / "etc/group").unlink()
    said, acls = unpacked_acls(root, tmp_path / "snap", "--acls")
    for path in ("journal", "journal/file", "journal/inner"):
        lost = f"{path}: its ACL is not kept: no group mail in the archive's /etc/group"
        assert f"{root}.tar: {lost}" in said
    assert "4242" not in acls and "group::rwx" not in acls


@needs_root
def test_an_acl_that_was_packed_as_an_extended_attribute_is_kept(tmp_path):
    root = with_acls(tmp_path / "root")
    said, acls = unpacked_acls(root, tmp_path / "snap", "--xattrs", "--xattrs-include=*")
    assert (said, acls) == ([], run("getfacl", "-nRp", "journal", cwd=root))


@needs_root
def test_the_same_archive_is_unpacked_once_and_a_changed_one_again(node, tmp_path):
    what, snap = image("archive", packed(node, tmp_path / "root.tar")), tmp_path / "snap"
    pull(what, snap)
    mark = (snap / snapshot.COMPLETE).read_text()
    assert pull(what, snap) == [] and (snap / snapshot.COMPLETE).read_text() == mark
    (node / "etc/motd").write_text("newer")
    packed(node, tmp_path / "root.tar")
    pull(what, snap)
    assert (snap / "tree/etc/motd").read_text() == "newer" and sorted(os.listdir(snap)) == WHOLE


@needs_root
def test_a_build_is_of_the_archive_that_is_there_whatever_was_pulled_in_between(
    doit, reference, tmp_path
):
    sample_site.write(doit.site, reference)
    doit.site.write_text(
        doit.site.read_text().replace(f"path: {reference}", f"archive: {tmp_path}/root.tar")
    )
    packed(reference, tmp_path / "one.tar")
    (reference / "etc/hosts").write_text("127.0.0.1 two\n")
    packed(reference, tmp_path / "two.tar")
    put_there = tmp_path / "root.tar"
    put_there.write_bytes((tmp_path / "one.tar").read_bytes())
    doit()
    whole = sample_site.contents(doit.build / "worker/root")
    put_there.write_bytes((tmp_path / "two.tar").read_bytes())
    doit("pull")
    put_there.write_bytes((tmp_path / "one.tar").read_bytes())
    doit()
    assert sample_site.contents(doit.build / "worker/root") == whole
    assert doit() == ""


@needs_root
def test_a_node_is_pulled_again_for_what_the_site_left_out_before_and_for_nothing_else(
    doit, reference, over_ssh
):
    sample_site.write(doit.site, reference)
    wanted = doit.site.read_text().replace(
        f"path: {reference}", f"rsync: 'root@127.0.0.1:{reference}'"
    )
    less = wanted.replace("overlays:", "exclude: [/usr/share/1/*]\n    overlays:")
    doit.site.write_text(less)
    doit()
    shared, motd = doit.build / "worker/root/usr/share/1", doit.build / "worker/root/etc/motd"
    assert not list(shared.iterdir())
    (reference / "etc/motd").write_text("newer\n")
    doit.site.write_text(less.replace("/usr/share/1/*", "/usr/share/1/*, /usr/share/2/*"))
    doit()
    assert not motd.exists()
    doit.site.write_text(wanted)
    assert "once more, for what the last snapshot left out" in doit()
    assert len(list(shared.iterdir())) == 100 and motd.read_text() == "newer\n"
    assert doit() == ""


@needs_root
def test_a_snapshot_serves_all_that_wants_no_more_of_the_node(node, over_ssh, tmp_path):
    what, snap = (
        image("rsync", f"root@127.0.0.1:{node}", exclude=("/a", "/b"), keep=("etc/k",)),
        tmp_path / "snap",
    )
    pull(what, snap)
    serves = {
        (exclude, keep): Snapshot(str(snap)).is_as_wide(what._replace(exclude=exclude, keep=keep))
        for exclude in [("/b", "/a"), ("/a", "/b", "/c"), ("/a",), ()]
        for keep in [("etc/k",), (), ("etc/k", "etc/l")]
    }
    assert [wanted for wanted, serve in serves.items() if serve] == [
        (("/b", "/a"), ("etc/k",)), (("/b", "/a"), ()), (("/a", "/b", "/c"), ("etc/k",)), (("/a", "/b", "/c"), ()),
    ]  # fmt: skip


@needs_root
@pytest.mark.parametrize("how", ["", "--gzip", "--xz", "--zstd", "--bzip2"])
def test_an_archive_that_was_cut_off_is_one_line_and_no_snapshot(how, node, tmp_path):
    path = packed(node, tmp_path / "root.tar", *filter(None, [how]))
    size = path.stat().st_size
    for cut in (
        (size // 2, size - 700) if how else (size // 3 // 512 * 512, size // 2 // 512 * 512 + 100)
    ):
        path.write_bytes(path.read_bytes()[:cut])
        text = refusal(image("archive", path), tmp_path / "snap")
        assert str(path) in text and (
            "truncated" in text or how in ("--bzip2", "--zstd", "--xz")
        ), text
        assert (
            not (tmp_path / "snap/tree").exists()
            and not (tmp_path / "snap" / snapshot.COMPLETE).exists()
        )


@needs_root
def test_a_plain_archive_that_ends_between_two_files_is_cut_off_too(tmp_path):
    with tarfile.open(tmp_path / "root.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("first"))
        tar.addfile(tarfile.TarInfo("second"))
    (tmp_path / "root.tar").write_bytes((tmp_path / "root.tar").read_bytes()[:1024])
    assert "truncated: it has no end (at second)" in refusal(
        image("archive", tmp_path / "root.tar"), tmp_path / "snap"
    )


@needs_root
@pytest.mark.parametrize(
    "content", [b"", b"no archive at all\n" * 100, bytes(10240)], ids=["empty", "text", "zeros"]
)
def test_what_is_no_archive_is_one_line(content, tmp_path):
    (tmp_path / "root.tar").write_bytes(content)
    text = refusal(image("archive", tmp_path / "root.tar"), tmp_path / "snap")
    assert text.startswith(str(tmp_path / "root.tar") + ":1:1: ")
    assert "No such file" in refusal(image("archive", tmp_path / "none.tar"), tmp_path / "snap")


HOSTILE = {
    "a layer": ([("etc/.wh.passwd", 0)], "one layer of an image of containers: .wh.passwd deletes"),
    "an opaque layer": ([("./opt/.wh..wh..opq", 0)], "one layer of an image of containers"),
    "docker save": ([("0123abcd/layer.tar", 9)], "as `docker save` writes it, and no root"),
    "docker save of today": ([("blobs/sha256/0", 9), ("oci-layout", 9)], "`docker export` of a"),
    "deep folders": ([("d/" * 600 + "end", 0)], "is 600 folders deep, and 1203 bytes long"),
    "a long name": ([("/".join(["n" * 200] * 30), 0)], "bytes long"),
    "a bomb": ([("var/zeros", 1 << 50)], "it holds more than the "),
}


@needs_root
@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_that_is_no_root_or_that_nothing_could_hold_is_refused_at_once(what, tmp_path):
    entries, said = HOSTILE[what]
    with open(tmp_path / "root.tar", "wb") as file:
        for name, size in entries:
            member = tarfile.TarInfo(name)
            member.size = size
            file.write(member.tobuf(tarfile.PAX_FORMAT) + bytes(-(-min(size, 4096) // 512) * 512))
    text = refusal(image("archive", tmp_path / "root.tar"), tmp_path / "snap")
    assert said in text and text.startswith(str(tmp_path / "root.tar") + ":1:1: ")


def test_a_long_unpacking_says_how_far_it_is(tmp_path):
    """In one line of what is read, each some seconds: a child reads, in a file that both have open."""
    (tmp_path / "root.tar").write_bytes(bytes(3 << 20))
    (tmp_path / "new").mkdir()
    said: list[str] = []

    def work(names, noted) -> list[str]:
        os.lseek(archive, 1 << 20, os.SEEK_SET)
        time.sleep(2.5)
        return ["done"]

    with open(tmp_path / "root.tar", "rb") as file:
        archive = file.fileno()
        waiting = partial(tar.how_far, "root.tar", [archive], Throttle(said.append, 1.5))
        claims = str(tmp_path / "claims")
        assert tar.confined("root.tar", str(tmp_path / "new"), work, claims, waiting) == ["done"]
    assert said == ["root.tar: unpacking, 1.0 MiB of 3.0 MiB read"]


MANY_FILES = """
mount -t tmpfs -o nr_inodes=60 tmpfs "$1"
exec "$2" -c 'from tasks.core.unpack.tar import unpack; unpack("'"$3"'", "'"$1"'")'
"""


@needs_root
def test_an_archive_of_more_files_than_there_is_room_for_ends_in_one_line(tmp_path, monkeypatch):
    """However little they take when they are packed, be they folders, links or one name again and again."""
    with tarfile.open(tmp_path / "root.tar.xz", "w:xz") as archive:
        for number in range(100):
            member = tarfile.TarInfo(f"var/{number % 90}")
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    (tmp_path / "small").mkdir()
    words = [tmp_path / "small", sys.executable, tmp_path / "root.tar.xz"]
    argv = ["unshare", "--mount", "sh", "-ec", MANY_FILES, "sh", *words]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY)
    assert re.search(r"Refused: .*root\.tar\.xz: .*: No space left on device\n$", done.stderr)
    monkeypatch.setattr(tar, "_MOST", 95)
    text = refusal(image("archive", tmp_path / "root.tar.xz"), tmp_path / "snap")
    assert "it holds more than 95 files" in text


@needs_root
def test_holes_of_an_archive_take_no_room_and_layers_of_aufs_in_var_are_data(tmp_path):
    (tmp_path / "root/var/lib/docker/aufs").mkdir(parents=True)
    (tmp_path / "root/var/lib/docker/aufs/.wh..wh.aufs").touch()
    with open(tmp_path / "root/var/hole", "wb") as file:
        file.truncate(1 << 42)
    tar = [
        "tar",
        "--sparse",
        "--format=gnu",
        "-cf",
        tmp_path / "root.tar",
        "-C",
        tmp_path / "root",
        ".",
    ]
    subprocess.run(tar, check=True)
    (tmp_path / "new").mkdir()
    assert archive.unpack(str(tmp_path / "root.tar"), str(tmp_path / "new")) == []
    assert (tmp_path / "new/var/hole").stat().st_size == 1 << 42
    assert (tmp_path / "new/var/hole").stat().st_blocks < 100


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


@needs_root
@pytest.mark.parametrize(
    "members",
    [
        [entry("../evil", data=b"x")],
        [entry("a/../../../evil", data=b"x")],
        [entry("/{outside}/evil", data=b"x")],
        [entry("out", tarfile.SYMTYPE, "{outside}"), entry("out/evil", data=b"x")],
        [entry("up", tarfile.SYMTYPE, "../../.."), entry("up/outside/evil", data=b"x")],
        [entry("file", tarfile.SYMTYPE, "{outside}/canary"), entry("file", data=b"x")],
        [entry("hard", tarfile.LNKTYPE, "{outside}/canary"), entry("hard", data=b"x")],
        [entry("hard", tarfile.LNKTYPE, "../../outside/canary")],
        [entry("out", tarfile.SYMTYPE, "{outside}"), entry("hard", tarfile.LNKTYPE, "out/canary", b"x")],
        [entry("dev", tarfile.CHRTYPE), entry("hard", tarfile.LNKTYPE, "dev", b"x")],
    ],
    ids=["dots", "dots inside", "absolute", "symlink", "symlink up", "over a symlink", "hard link", "hard link up",
         "hard link through a symlink", "hard link to a device"],
)  # fmt: skip
def test_a_hostile_archive_touches_nothing_outside(members, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        for info, data in members:
            info = copy.copy(info)
            info.name, info.linkname = (
                text.replace("{outside}", str(outside)) for text in (info.name, info.linkname)
            )
            tar.addfile(info, io.BytesIO(data))
    before = os.stat(outside / "canary")
    try:
        pull(image("archive", tmp_path / "root.tar"), tmp_path / "snap")
    except (Refused, BadInput) as error:
        assert "\n" not in str(error) and str(tmp_path / "root.tar") in str(error)
    assert os.listdir(outside) == ["canary"] and (outside / "canary").read_text() == "alive"
    after = os.stat(outside / "canary")
    assert (after.st_nlink, after.st_mtime_ns, after.st_mode) == (
        before.st_nlink,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert not (tmp_path / "evil").exists() and not (tmp_path / "snap/evil").exists()


# ---------------------------------------------------------------- bootstrap


def test_this_machines_own_sources_of_the_suite_are_used_and_no_others(tmp_path):
    (tmp_path / "debian.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates sid\n"
        "Components: main\n contrib\nSigned-By: /usr/share/keyrings/k.gpg\n\n"
        "Types: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        "Types: deb\nURIs: http://other.example\nSuites: bookworm-pgdg\nComponents: main\n"
    )
    (tmp_path / "more.list").write_text(
        "# deb http://no.example bookworm main\n"
        "deb [arch=amd64] http://security.example bookworm-security main\ndeb-src http://src.example bookworm main\n"
    )
    patterns = (f"{tmp_path}/*.sources", f"{tmp_path}/*.list")
    signed = "[signed-by=/usr/share/keyrings/k.gpg] "
    assert apt_sources.own_sources("bookworm", *patterns).splitlines() == [
        f"deb {signed}http://mirror.example/debian bookworm main contrib",
        f"deb {signed}http://mirror.example/debian bookworm-updates main contrib",
        "deb [arch=amd64] http://security.example bookworm-security main",
    ]
    assert apt_sources.own_sources("trixie", *patterns) == ""


@pytest.mark.parametrize(
    "example, mirror, said",
    [
        ("sources.list", "", {"sources.list": "deb http://own.example bookworm main\n"}),
        ("debian.sources", "", {"sources.list": "", "sources.list.d/debian.sources": "Types: deb\n"}),
        ("debian.sources", "http://m.example", {"sources.list": "deb http://m.example trixie main\n"}),
        ("configure-index", "", {"sources.list": ""}),
    ],
)  # fmt: skip
def test_a_root_says_the_sources_of_the_site_or_its_own_and_none_of_this_machines(
    tmp_path, example, mirror, said
):
    text = said.get("sources.list.d/debian.sources") or said["sources.list"]
    sample_site.fill(
        tmp_path,
        {
            "etc/apt/sources.list": b"deb http://of.this.machine trixie main\n",
            "etc/apt/sources.list.d/0000sources.list": b"deb http://of.this.machine trixie main\n",
            "etc/apt/sources.list.d/of-a-package.list": b"# a package's own\n",
            f"usr/share/doc/apt/examples/{example}": text.encode(),
        },
    )
    apt_sources.say_in_root(
        str(tmp_path), Reference("bootstrap", suite="trixie", mirror=mirror or None)
    )
    found = {}
    for path in (tmp_path / "etc/apt").rglob("*"):
        if path.is_file():
            found[str(path.relative_to(tmp_path / "etc/apt"))] = path.read_text()
    assert found == {**said, "sources.list.d/of-a-package.list": "# a package's own\n"}


@needs_root
def test_a_mirror_that_does_not_answer_is_one_line_and_no_snapshot(tmp_path):
    what = image(
        "bootstrap", suite="bookworm", packages=("bash",), mirror="http://127.0.0.1:1/debian"
    )
    assert "worker: bootstrap of bookworm: Could not connect to 127.0.0.1:1" in refusal(
        what, tmp_path / "snap"
    )
    assert (
        not (tmp_path / "snap" / snapshot.COMPLETE).exists()
        and not (tmp_path / "snap/tree").exists()
    )
    assert not (tmp_path / "snap/scratch").exists()


@needs_root
def test_a_bootstrap_that_is_killed_leaves_no_process_no_mount_and_nothing_outside_the_build(
    tmp_path,
):
    outside = tmp_path / "tmp"
    outside.mkdir()
    with socket.socket() as mute:  # a mirror that never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        mirror, snap = f"http://127.0.0.1:{mute.getsockname()[1]}/debian", tmp_path / "snap"
        program = pulling(
            f"Reference('bootstrap', suite='bookworm', packages=('bash',), mirror={mirror!r})", snap
        )
        environment = {**os.environ, "TMPDIR": str(outside)}
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        mute.settimeout(60)
        mute.accept()
        assert str(snap) in run("ps", "-wweo", "args")
        process.kill()
        process.wait()
        until(lambda: str(snap) not in run("ps", "-wweo", "args"))
    assert str(snap) not in pathlib.Path("/proc/self/mountinfo").read_text()
    assert not list(outside.iterdir())
    Snapshot(str(snap)).discard()
    assert not snap.exists()


@pytest.mark.parametrize(
    "words, meaning",
    [
        ("E: Unable to locate package nosuch\nE: apt-get --yes install failed: process exited with 100",
         "no package nosuch in bookworm; correct `packages`"),
        ("E: Unable to locate package one\nE: Package 'two' has no installation candidate\n"
         "E: Unable to locate package one\nE: Unable to locate package three\nE: apt-get failed",
         "no package one, three, two in bookworm; correct `packages`"),
        ("Err:4 http://mirror.example.org/debian nosuch Release\n  404  Not Found\n"
         "E: The repository 'http://mirror.example.org/debian nosuch Release' does not have a Release"
         " file.\nE: apt-get update failed",
         "no suite nosuch at http://mirror.example.org/debian; correct `suite` or `mirror`"),
        ("W: Failed to fetch http://x/dists/InRelease  Temporary failure resolving 'x'\nE: Some index files failed",
         "x: its name is not known; is there a network?"),
        ("dpkg: error processing archive x (--unpack):\n cannot copy: failed to write (No space left on device)",
         "No space left on device here, in the build folder"),
        ("I: running\nE: something that nobody foresaw\nE: run_chroot failed: x", "E: something that nobody foresaw"),
    ],
)  # fmt: skip
def test_what_apt_says_becomes_one_line_for_an_admin(words, meaning):
    assert (
        bootstrap.explain_packages(Reference("bootstrap", suite="bookworm"), words.splitlines())
        == meaning
    )


def test_a_number_is_a_release_of_el(tmp_path):
    folder = snapshot.Snapshot(str(tmp_path))
    for suite in ("9", "el9"):
        image = Image("worker", Reference("bootstrap", suite=suite, packages=("kernel",)))
        words = bootstrap.bootstrap_command(image, folder)
        assert words[0] == "dnf" and "--releasever=9" in words and words[-1] == "kernel"


def test_debians_packages_can_be_for_another_processor_and_els_cannot(tmp_path):
    folder = snapshot.Snapshot(str(tmp_path))
    debian = Image("arm", Reference("bootstrap", suite="bookworm"), arch="arm64")
    assert "--architectures=arm64" in bootstrap.bootstrap_command(debian, folder)
    assert kinds.key(debian) != kinds.key(debian._replace(arch="amd64"))
    with pytest.raises(Refused, match="bootstrap of 9 is for amd64 alone: take a node or"):
        bootstrap.bootstrap_command(
            debian._replace(reference=Reference("bootstrap", suite="9")), folder
        )


def test_what_is_one_machines_own_is_removed_and_links_lead_nowhere(tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for folder in (outside, tree / "etc/ssh", tree / "var", tree / "tmp/x", tree / "dev"):
        folder.mkdir(parents=True)
    (outside / "dpkg.log").write_text("of the host")
    os.symlink(outside, tree / "var/log")
    os.symlink("/etc/passwd", tree / "etc/resolv.conf")
    for name in (
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/sshd_config",
        "etc/machine-id",
        "tmp/.hidden",
        "dev/console",
        "dev/null",
    ):
        (tree / name).write_text("x")
    bootstrap.tidy(str(tree))
    assert (outside / "dpkg.log").exists() and (tree / "etc/machine-id").read_text() == ""
    assert (
        sorted(os.listdir(tree / "etc")) == ["machine-id", "ssh"] and os.listdir(tree / "tmp") == []
    )
    assert os.listdir(tree / "etc/ssh") == ["sshd_config"]
    assert os.listdir(tree / "dev") == ["null"]  # the build warned of the other, a user's device
