"""A crowded reference: all that manages network cards wants the one that the root is on, services want to write.

It is another reference, a copy. The services are installed, as on a real machine; the other packages are laid over it,
and no script of theirs has run. Its initrd is dracut's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "linux-image-cloud-amd64 dracut-core dracut-network nfs-common rpcbind netbase isc-dhcp-client network-manager "
    "ifupdown procps"
).split()
INSTALLED = "chrony rsyslog autofs postfix nfs-common".split()
FILES = {
    "etc/systemd/network/80-any.network": "[Match]\nName=*\n\n[Network]\nDHCP=yes\n",
    "etc/NetworkManager/conf.d/99-unmanaged.conf": "[keyfile]\nunmanaged-devices=interface-name:ib0\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n",
}
SERVICES = "NetworkManager systemd-networkd networking".split()
# The nodes' network and NFS, less what a virtual machine's first seconds would be spent on
DRACUT = [
    "--force", "--no-hostonly", "--no-compress", "--add", "network-legacy nfs",
    "--omit", "crypt dm nvdimm overlay-root virtiofs lunmask resume modsign",
]  # fmt: skip


INSIDE = ["unshare", "--mount", "--pid", "--fork", "--net", "sh", "-ec", """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs tmpfs "$0/tmp"
exec chroot "$0" "$@"
"""]  # fmt: skip


# Packages into the root $0, by its own apt; no service is started, and postfix wants a whole name
APT = ["unshare", "--mount", "--pid", "--fork", "--uts", "sh", "-ec", """
hostname wn-ref
echo 127.0.1.1 wn-ref.grid.example.org wn-ref >"$0/etc/hosts"
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
: >>"$0/etc/resolv.conf"
mount --bind /etc/resolv.conf "$0/etc/resolv.conf"
mkdir -p "$0/var/cache/apt/archives/partial" "$0/var/lib/apt/lists/partial" "$0/var/log/apt"
printf '#!/bin/sh\nexit 101\n' >"$0/usr/sbin/policy-rc.d"
chmod 755 "$0/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive
chroot "$0" apt-get -qq update
exec chroot "$0" apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@"
"""]  # fmt: skip


def reference(cache: Path, base: Path) -> Path:
    """The reference made of `base`; `cache` survives, and may be another test run's, too."""
    made_by = hashlib.sha256(Path(__file__).read_bytes() + str(base).encode()).hexdigest()[:12]
    tree = cache / f"crowded-{made_by}"
    with open(cache / "crowded.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            for old in cache.glob("crowded-*"):
                shutil.rmtree(old)
            make(cache / "crowded-new", base).rename(tree)
    return tree


def make(tree: Path, base: Path) -> Path:
    extracted = tree.with_name("crowded-extracted")
    words = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        '--aptopt=APT::Install-Recommends "false"',
    ]
    run(*words, f"--include={','.join(PACKAGES)}", suite(base), extracted)
    run("cp", "-a", "--reflink=auto", base, tree)
    run(*APT, tree, *INSTALLED)
    linked = ["--exclude=/var/lock", "--exclude=/var/run"]  # rsync 3.5 sets no modes through a link
    into = ["rsync", "-a", "--keep-dirlinks", "--ignore-existing", *linked]
    run(*into, f"{extracted}/", f"{tree}/")
    shutil.rmtree(extracted)
    for name, text in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    run("chroot", tree, "systemctl", "--quiet", "enable", *SERVICES)
    run("depmod", "-b", tree, kernel(tree))
    run(
        *INSIDE, tree, "dracut", *DRACUT, "--kver", kernel(tree), f"/boot/initrd.img-{kernel(tree)}"
    )
    return tree


def suite(base: Path) -> str:
    """Its release, as its os-release(5) has it."""
    words = shlex.split((base / "etc/os-release").read_text())
    return dict(word.split("=", 1) for word in words)["VERSION_CODENAME"]


def kernel(tree: Path) -> str:
    (version,) = (name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
    return version


def run(*argv) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
