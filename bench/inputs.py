"""What the benchmarks work on, made when it is first asked for: roots, trees, sites, and the disk that they lie on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# A worker root as grids have them: with compilers, and with both makers of initrds, each in a chroot of it.
PACKAGES = (
    "linux-image-amd64 systemd-sysv dbus openssh-server iproute2 e2fsprogs fdisk kmod busybox-static rsync zstd cpio "
    "initramfs-tools dracut-core dracut-network nfs-common python3 python3-numpy perl gcc g++ gfortran make git gdb "
    "vim tcsh strace environment-modules libopenmpi-dev"
).split()
BOOTSTRAP = f"{{bootstrap: {{suite: bookworm, packages: [{', '.join(PACKAGES)}]}}}}"
MODULES = "virtio_net, e1000, e1000e, igb, ixgbe, tg3, bnxt_en, mlx5_core"

SITE = """\
site: bench
network: {subnet: 10.0.0.0/8}
servers:
  boot1: {ip: 10.0.0.1}
"""
PER_NETWORK = 100  # nodes
IMAGE = """\
  {name}:
    reference: {reference}
    initrd: {{base: none, modules: [{modules}], compression: gzip}}
    disk: {{devices: [/dev/vda]}}
"""


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    root: int  # files of a worker's root
    tree: int  # small files of a synthetic tree
    nodes: int
    rounds: int
    releases: int  # kept on a server
    servers: int  # that are reached by ssh
    far: int  # files that each of them gets
    changes: tuple[int, ...]  # growth: files changed of `root`
    trees: tuple[int, ...]  # growth: files that there are
    sites: tuple[int, ...]  # growth: nodes that there are
    few: int  # rounds for each point of growth
    # a real Debian root; else a made-up one, without the distribution's makers of initrds
    debian: bool


FULL = Sizes(
    50_000, 200_000, 10_000, 5, 14, 16, 5_000, (1, 10, 100, 1_000), (10_000, 50_000, 200_000),
    (100, 1_000, 10_000, 50_000), 2, True,
)  # fmt: skip
QUICK = Sizes(
    10_000, 40_000, 10_000, 3, 14, 4, 1_000, (1, 100), (10_000, 40_000), (100, 10_000), 1, False
)
TINY = Sizes(300, 600, 50, 1, 3, 2, 300, (1, 10), (300,), (10, 50), 1, False)


@dataclass
class Inputs:
    """Everything that is measured, in a folder on the disk of the benchmarks. `kept`: what later runs find again."""

    folder: pathlib.Path
    kept: pathlib.Path
    sizes: Sizes
    trees: dict[int, pathlib.Path] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)  # bytes of the initrds that others made

    @cached_property
    def debian(self) -> pathlib.Path:
        """A Debian root, bootstrapped by Plugnode itself; downloaded once."""
        work = self.kept / "debian"
        work.mkdir(parents=True, exist_ok=True)
        made(doit(site(work / "site.yaml", BOOTSTRAP, 1), work / "build", "snapshot"))
        return next((work / "build/references").glob("*/tree"))

    @cached_property
    def root(self) -> pathlib.Path:
        """A worker's root of `sizes.root` files: the Debian one, filled up with copies of its own small files."""
        if not self.sizes.debian:
            return self.tree(self.sizes.root)
        root = self.folder / "root"
        made(["cp", "-a", str(self.debian), str(root)])
        fill_up(root, self.sizes.root)
        return root

    def tree(self, files: int) -> pathlib.Path:
        """A tree of as many small files that is a worker's root all the same."""
        if files not in self.trees:
            self.trees[files] = synthetic(self.folder / f"tree-{files}", files)
        return self.trees[files]


def site(
    path: pathlib.Path,
    reference: str,
    nodes: int,
    modules: str = "virtio_net",
    images: int = 1,
    of_networks: bool = False,
) -> pathlib.Path:
    """A site file with so many nodes, which run the images in turn; in one network, or in many."""
    names = ["worker", *(f"worker{number}" for number in range(2, images + 1))]
    parts = [IMAGE.format(name=name, reference=reference, modules=modules) for name in names]
    lines = [node(number, names[number % images]) for number in range(1, nodes + 1)]
    head = networks(nodes // PER_NETWORK) if of_networks else SITE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join([head, "images:\n", *parts, "nodes:\n", *lines]))
    return path


def networks(count: int) -> str:
    """What a site says of networks, so many, and of a server that is in each."""
    head, addresses = "site: bench\nnetworks:\n", ""
    for number in range(count):
        first = network(number)
        head += f"  net{number}: {{subnet: {first}.0/24, gateway: {first}.254}}\n"
        addresses += f"      net{number}: {first}.253\n"
    return f"{head}servers:\n  boot1:\n    addresses:\n{addresses}"


def network(number: int) -> str:
    return f"10.{1 + number // 200}.{number % 200}"


def node(number: int, image: str) -> str:
    """The node of that number, from 1 on; so many of them are in each network."""
    name, mac = f"wn{number:05}", f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    of_network, place = divmod(number - 1, PER_NETWORK)
    return f'  {name}: {{mac: "{mac}", ip: {network(of_network)}.{place + 1}, image: {image}}}\n'


def doit(site: pathlib.Path, build: pathlib.Path, *words: str) -> list[str]:
    """The command that an admin types."""
    start = [sys.executable, "-m", "doit", "-d", str(REPOSITORY), "-f", str(REPOSITORY / "dodo.py")]
    return [*start, *words, f"site={site}", f"build={build}"]


def made(argv: list[str]) -> None:
    """Run a command that makes an input. Raises RuntimeError with its last words."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(argv)}: exit status {done.returncode}\n{done.stderr[-2000:]}"
        )


def synthetic(folder: pathlib.Path, files: int) -> pathlib.Path:
    """So many small files, a hundred to a folder, and what makes a worker's root of them."""
    from tests.support import sample_site

    return sample_site.reference(folder, files)


def fill_up(root: pathlib.Path, files: int) -> None:
    """Copies of the root's own files below /usr/share, until it has so many."""
    source = root / "usr/share"
    names = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    lacking = files - sum(len(found) for _, _, found in os.walk(root))
    for number in range(max(0, lacking)):
        path = names[number % len(names)]
        copy = source / f"copy{number // len(names)}" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def edit(root: pathlib.Path, count: int) -> None:
    """Change the content of so many files, spread over the tree, and let the clock go on: no time is ambiguous."""
    names = [
        pathlib.Path(folder, name)
        for folder, _, found in os.walk(root / "usr/share")
        for name in found
    ]
    names = sorted(path for path in names if path.is_file() and not path.is_symlink())
    for path in names[:: max(1, len(names) // count)][:count]:
        path.write_text(f"changed {time.time_ns()}\n")
    time.sleep(0.1)


def add(root: pathlib.Path) -> None:
    """One small file more, of a name that was not there."""
    (root / f"usr/share/added-{time.time_ns()}").write_text("added\n")
    time.sleep(0.1)


# One without a journal makes files up to six times slower right after others were removed
EXT4 = "mkfs.ext4 -q -i 8192 -O has_journal -E lazy_itable_init=0"
XFS = "mkfs.xfs -q"  # it has reflinks


@contextlib.contextmanager
def disk(kept: pathlib.Path, mkfs: str = EXT4, size: int = 24 << 30) -> Iterator[pathlib.Path]:
    """A file system of its own, mounted below `kept`; all of it is gone afterwards."""
    image, mounted = kept / "disk.img", kept / "disk"
    mounted.mkdir(parents=True, exist_ok=True)
    # of a run that was killed, whose last command may still write to it
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(size)
    made([*mkfs.split(), str(image)])
    made(["mount", "-o", "loop", str(image), str(mounted)])
    try:
        yield mounted
    finally:
        made(["umount", "--lazy", str(mounted)])
        image.unlink()


def unshare_mounts() -> None:
    """What this process mounts from now on is its own, and gone with it (unshare(2); Python 3.12 has it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    made(["mount", "--make-rprivate", "/"])
