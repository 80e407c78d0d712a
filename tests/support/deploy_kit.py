"""What the tests of deploy share: real builds of a small site, and what a node is served."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import subprocess

from tasks.core.checkout import drift, staged
from tasks.core.deploy import apply
from tasks.core.desired.build import site_id
from tasks.core.plan.model import Plan
from tasks.core.plan.state import BuiltRelease, Desired
from tasks.core.release import Release, release_id
from tasks.core.scan.reader import scan
from tasks.core.store.paths import Targets
from tests.support.commands import REPOSITORY, opened
from tests.support.trees import load_staged

AUTHOR = {"who": "admin", "host": "boot1"}
NODES = {
    f"wn{n:03}": {"ip": f"172.24.10.{n}", "mac": f"ae:d6:90:bb:00:{n:02x}", "image": "worker"}
    for n in range(1, 41)
}


def build(
    folder: pathlib.Path,
    image: str = "worker",
    files: int = 300,
    kernel: bytes = b"kernel",
    **changes: bytes,
) -> BuiltRelease:
    """build/<image> as the build leaves it: a root of every kind of entry; `changes` by the file's name."""
    root = folder / image / "reference"
    root.mkdir(parents=True)
    root.chmod(0o755)
    for number in range(files):
        place = root / "usr" / f"lib{number // 100}" / f"file{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(changes.get(place.name, b"%d\n" % number * 50))
    os.link(root / "usr/lib0/file1", root / "usr/lib0/second name")
    (root / "bin").symlink_to("usr/lib0")
    os.chmod(root / "usr/lib0/file2", 0o4755)
    (root / "etc").mkdir(mode=0o755)
    (root / "etc/shadow").write_bytes(changes.get("shadow", b"root:*::\n"))
    (root / "etc/shadow").chmod(0o640)
    (root / "empty folder").mkdir(mode=0o700)
    os.mkfifo(root / "etc/fifo")
    if os.geteuid() == 0:
        os.mknod(root / "etc/null", 0o20666, os.makedev(1, 3))
        os.chown(root / "etc/shadow", 0, 42)
    staged.checkout(staged.staged_paths(str(folder / image)), scan(str(root)).tree)
    return finish(folder / image, image, kernel)


def finish(
    folder: pathlib.Path,
    image: str = "worker",
    kernel: bytes = b"kernel",
    cmdline: str = "console=ttyS0",
) -> BuiltRelease:
    """The rest of a build beside its staged root."""
    (folder / "initrd.img").write_bytes(b"initrd" * 999)
    (folder / "vmlinuz").write_bytes(kernel)
    names = ("root.mtree", "root.xattrs", "initrd.img", "vmlinuz")
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    id = release_id(image, *digests, cmdline)
    tree = load_staged(staged.staged_paths(str(folder)))
    release = Release(
        id,
        image,
        cmdline,
        *digests,
        "6.1.0",
        "own",
        len(tree),
        sum(entry.size for entry in tree.values()),
    )
    (folder / "release.json").write_bytes(release.dump())
    return BuiltRelease(release, str(folder))


def boot_files(release: Release, site: str) -> dict[str, bytes]:
    """The three commit points of an image, as small as they can be."""
    text = (
        f"{release.id}/vmlinuz {release.id}/initrd.img,{site}/site.img {release.cmdline}\n".encode()
    )
    return {f"plugnode/{release.image}.{kind}": text for kind in ("cfg", "grub", "ipxe")}


def want(
    *built: BuiltRelease, site_img: bytes = b"site data 1", nodes: dict = NODES, **more
) -> Desired:
    """What the site wants of its server."""
    files = {
        "pxelinux.cfg/default": f"INCLUDE plugnode/{built[0].release.image}.cfg\n".encode(),
        "boot.ipxe": b"#!ipxe\n",
    }
    files |= more.pop("files", {})
    for one in built:
        files |= boot_files(one.release, site_id(site_img))
    return Desired(
        built, site_id(site_img), site_img, files, more.pop("loaders", {}), nodes=nodes, **more
    )


def run(targets: Targets, wanted: Desired, said: list[str] | None = None) -> Plan:
    return apply.deploy(targets, wanted, AUTHOR, (said if said is not None else []).append)


def served(targets: Targets, image: str = "worker") -> tuple[str, str]:
    """What a node of the image boots: release and site data, each seen to be whole, by whichever loader."""
    seen = set()
    for kind in ("cfg", "grub", "ipxe"):
        text = pathlib.Path(targets.served(f"plugnode/{image}.{kind}")).read_text()
        release, site = re.search(r"^(\S+)/vmlinuz \S+/initrd.img,(\S+)/site.img", text).groups()
        assert_whole(targets, release)
        assert pathlib.Path(targets.boot(site), "site.img").exists()
        seen.add((release, site))
    return seen.pop() if len(seen) == 1 else sorted(seen)


def assert_whole(targets: Targets, release: str) -> None:
    """The release on the server is exactly its manifest, kernel and initrd too."""
    from tasks.core.store.kept import load_kept, published

    facts = published(targets)[release]
    drift.must_equal(load_kept(targets, release), targets.root(release))
    for name, digest in (("vmlinuz", facts.kernel), ("initrd.img", facts.initrd)):
        data = pathlib.Path(targets.boot(release), name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest


def snapshot(folder: str) -> dict[str, tuple]:
    """Everything below a folder: type, mode, owner, inode, bytes or link; without what we keep of runs."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        status = path.lstat()
        data = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, data)
    return found


def python(code: str, *argv: str, **options) -> subprocess.Popen:
    """A process of our own that runs `code` with the repository and the tests on its path."""
    import sys

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(opened(sys.executable, "-c", code, *argv), env=environment, **options)
