"""Boot by IPv6 alone: from a virtual machine's firmware to a root over NFS, on a wire without an IPv4 address.

    .venv/bin/python -m tests.stress.ipv6_boot [grub] [secure] [ipxe] [--root nfs-overlay] [--vers 4.1]

Needs root, and what `./doit test` installs, with kea-dhcp6-server. Kea gives the address and the loader (RFC 5970) as
docs/boot.md has it, with the file that the site generates; a router advertises itself:
  grub    OVMF's PXE, shim, GRUB
  secure  the same with Microsoft's keys
  ipxe    OVMF's PXE, iPXE
"""

from __future__ import annotations

import argparse
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tasks.core.lab.network import BRIDGE, RUN, UNSHARE, Daemons, Lab, private_mounts, start_nfs
from tasks.core.lab.qemu import VM, Ended, Machine
from tasks.core.lab.run import READY, banner
from tests.stress.secure_boot import bootstrapped
from tests.support.manual import kea_of_manual
from tests.support.vm_site import QUICK_KEYS, Grid, disk

SERVER, NODE = "2001:db8:10::1", "2001:db8:10::100"
MAC = "00:1e:67:ff:00:1d"  # a maker's: by others Kea does not know iPXE, whose identifier is no card's
SITE = """\
site: six
network: {{subnet: 172.24.10.0/24, domain: grid.example.org, subnet6: "2001:db8:10::/64"}}
servers: {{boot1: {{ip: 172.24.10.1, ip6: "2001:db8:10::1"}}}}
images:
  worker:
    reference: {{path: {reference}}}
    overlays: [keys]
    root: {root}
    nfs: {{vers: {vers}}}
    initrd: {{base: none, modules: [virtio_net, virtio_blk, ext4, button, evdev], compression: zstd}}
    cmdline: "console=ttyS0,115200 no_timer_check"
    disk: {{devices: [/dev/vda], partitions: [{{mount: /var, size: rest, fs: ext4, fill: /var.ro}}]}}
nodes:
  wn001: {{mac: "00:1e:67:ff:00:1d", ip: 172.24.10.100, ip6: "2001:db8:10::100"}}
outputs: [dhcp6_hosts]
"""
CASES = {"grub": "uefi", "secure": "secure", "ipxe": "uefi"}  # with its firmware


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; else all")
    parser.add_argument("--root", choices=["nfs", "nfs-overlay"], default="nfs")
    parser.add_argument("--vers", default="3", help="of NFS")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if strange := set(wanted.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(strange))}")
    if wanted.inside:
        return 0 if boots(wanted.inside, *wanted.cases) else 1
    with tempfile.TemporaryDirectory(prefix="plugnode-ipv6-") as name:
        site = SITE.format(reference=bootstrapped(), root=wanted.root, vers=wanted.vers)
        folder = Path(name)
        Grid(folder, site, {"keys/usr/sbin/ssh-keygen": QUICK_KEYS})
        bad = sum(not comes_up(folder, case) for case in wanted.cases or CASES)
    return 1 if bad else 0


def comes_up(folder: Path, case: str) -> bool:
    """Whether it does, in namespaces of its own."""
    program = [sys.executable, "-m", "tests.stress.ipv6_boot", "--inside", str(folder), case]
    return subprocess.run(["setpriv", "--pdeathsig", "KILL", *UNSHARE, *program]).returncode == 0


# --- inside the namespaces


def boots(folder: Path, case: str) -> bool:
    """Whether a machine comes to its last words, and they are right."""
    work, start = folder / case, time.monotonic()
    work.mkdir()
    configs = str(folder / "build/configs")
    lab = Lab(SERVER, 64, str(folder / "served"), "/tftpboot", configs, "", str(work))
    serve(lab, "ipxe.efi" if case == "ipxe" else "shimx64.efi")
    vm = VM(Machine(MAC, disk(work), str(work), firmware=CASES[case]))
    try:
        vm.expect(READY, 1200)
        said = banner(NODE, 22)
    except Ended as end:
        said = str(end)
    vm.cut()
    lines = [line for _, line in vm.lines]
    good = said.startswith("SSH-2.0-") and is_right(lines, case)
    told = [line for line in lines if line.startswith(("plugnode: initrd:", "plugnode: node:"))]
    print(*(told if good else lines[-60:]), sep="\n    ")
    verdict = "ok    " if good else "FAILED"
    print(f"{verdict} {case}: {time.monotonic() - start:.0f} s; {said}", flush=True)
    return good


def is_right(lines: list[str], case: str) -> bool:
    """Whether the root came from the server's IPv6 address, and the node lacks nothing."""
    wanted = [rf"mount / \[{SERVER}\]:/\S+ (nfs4? ro|overlay rw)", "failed none"]
    wanted += ["lockdown integrity"] * (case == "secure")
    told = "\n".join(lines)
    found = [re.search(f"plugnode: node: {words}$", told, re.M) for words in wanted]
    return all(found) and "plugnode: node: degraded" not in told


WIRE = f"""
ip link set lo up
ip link add {BRIDGE} type bridge stp_state 0 forward_delay 0
ip tuntap add dev tap0 mode tap
ip link add port type veth peer name end
ip link set end arp off up
for card in tap0 port; do ip link set $card master {BRIDGE} up; done
ip link set {BRIDGE} up
ip addr add {SERVER}/64 dev {BRIDGE} nodad
sleep 3 # Kea listens at the link-local address, once that is seen to be its own
"""


def serve(lab: Lab, loader: str) -> None:
    """Kea, TFTP and NFS by IPv6, and a router: no card has an address of IPv4."""
    private_mounts()
    subprocess.run(["sh", "-euc", WIRE], check=True)
    threading.Thread(target=advertise, daemon=True).start()
    daemons = Daemons(lab.logs)
    start_nfs(lab, daemons)
    words = f"-L -6 -s -v -v -a [{SERVER}]:69 -u nobody".split()
    daemons.start("tftpd", "in.tftpd", *words, lab.destdir + lab.tftp_root)
    config = Path(f"{RUN}/kea-dhcp6.conf")
    config.write_text(kea_of_manual(f"{lab.configs}/cluster/dhcp6_hosts.json", BRIDGE, loader))
    folders = {"KEA_PIDFILE_DIR": RUN, "KEA_LOCKFILE_DIR": RUN}
    daemons.start("kea", "kea-dhcp6", "-c", str(config), **folders)
    time.sleep(1)
    for name in daemons.dead():
        raise SystemExit(f"{name} ended at once: {Path(daemons.log(name)).read_text()[-1500:]}")


# RFC 4861: addresses are managed, and so is the rest; a router for half an hour; the prefix is on this wire, and hosts
# may make themselves addresses of it
ADVERTISEMENT = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0xC0, 1800, 0, 0)
ADVERTISEMENT += struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0)
ADVERTISEMENT += socket.inet_pton(socket.AF_INET6, "2001:db8:10::")


def advertise() -> None:
    """Be a router."""
    index = socket.if_nametoindex(BRIDGE)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        while True:
            raw.sendto(ADVERTISEMENT, ("ff02::1", 0, 0, index))
            time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
