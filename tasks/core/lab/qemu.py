"""A worker node as a virtual machine: QEMU, its console as timed lines, its power switch.

QEMU emulates the processor: a kernel that offers /dev/kvm may still not run a guest under it
(seen), so that is used only where PLUGNODE_ACCEL=kvm asks for it.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from itertools import chain
from typing import IO, Callable, Iterable

from ..base.boot_programs import AMD64, ARM64, certificate_of
from ..base.errors import Refused
from ..base.files import read, write_atomic
from ..store.loaders import first_loader
from .firmware import trust_certificate
from .network import RUN
from .vlan import port_ends

OVMF = {  # by firmware: code and variables, where distributions put them
    "uefi": (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ),
    "secure": (  # the variables have Microsoft's keys
        ("/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        (
            "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
            "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
        ),
    ),
}
# What a terminal does not show
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][0-9A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
# Linux 6.12 without an init in its initrd: what it finds at last is busybox, as a shell
NO_INIT_RUNS = "Run /sbin/init as init process"
# What the console says of a node that will not come up
DIED = "|".join(
    (
        "Kernel panic",
        NO_INIT_RUNS,
        "No bootable device",
        r"plugnode: \w+: FAILED",
        "did not boot; trying again",
        "BdsDxe: failed to load .*: Access Denied",  # Secure Boot
        "Security Violation",  # shim's: what it was to start is not signed by a key that it knows
        "bad shim signature",  # the same: a kernel that shim's distribution has not signed
        r"\.\.\. +failed:",  # pxelinux, whose next try finds the same
    )
)

DISKS = {  # how a disk is plugged in -> QEMU's devices; %d: its number
    "virtio": ["virtio-blk-pci,drive=d%d,serial=PLUGNODE%d"],
    "sata": ["ich9-ahci,id=ahci%d", "ide-hd,drive=d%d,bus=ahci%d.0,serial=PLUGNODE%d"],
    "ide": ["ide-hd,drive=d%d,bus=ide.0,serial=PLUGNODE%d"],
    "nvme": ["nvme,drive=d%d,serial=PLUGNODE%d"],
    "scsi": ["virtio-scsi-pci", "scsi-hd,drive=d%d,serial=PLUGNODE%d"],
}
PROGRAMS = {AMD64: "qemu-system-x86_64", ARM64: "qemu-system-aarch64"}
# The fastest under emulation (measured): without `erms`, for an emulated `rep movsb` goes byte by
# byte (24 -> 19 s to /sbin/init); `max` of ARM is slow, for it signs pointers
PROCESSORS = {AMD64: "max,la57=off,erms=off", ARM64: "cortex-a57"}
AAVMF = (  # OVMF for ARM
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("/usr/share/edk2/aarch64/QEMU_EFI.fd", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
)
FLASH = 64 << 20  # bytes of each of the two that `virt` has
NICS = {"virtio": "virtio-net-pci", "e1000": "e1000", "pcnet": "pcnet"}


@dataclass(frozen=True)
class Machine:
    """What the node is made of.

    `direct` has the firmware start a kernel itself: (kernel, initrd, arguments).
    """

    mac: str
    disk: str | None  # an image file; None: no disk
    work: str  # a folder for its logs
    number: int = 0  # which tap
    firmware: str = "bios"  # "bios" | "uefi" | "secure" | "ipxe"
    nic: str = "virtio"
    strangers: tuple[str, ...] = ()  # MACs of further cards, which lead nowhere and are found first
    unplugged: tuple[str, ...] = ()  # of cards without a cable: one is found before its own
    bus: str = "virtio"
    memory: int = 1024  # MiB
    direct: tuple[str, str, str] | None = None
    pxe_rom: str = ""  # for firmware "bios": iPXE as a kernel
    more_disks: tuple[tuple[str, str], ...] = ()  # image files, and how they are plugged in
    tpm: str = ""  # swtpm's control socket; "": it has no TPM
    certificate: str = ""  # that its owner trusts (MOK), in PEM
    by_http: bool = False  # its UEFI boots by HTTP, and not by PXE
    reboots: bool = False  # when its system says so; else it is off then
    vlan: int = 0  # its cable leads to a port that takes that VLAN tagged, too
    # MACs of further cards on the same wire, and their taps
    cabled: tuple[tuple[str, int], ...] = ()
    arch: str = AMD64  # "arm64": firmware "uefi" alone


Show = Callable[[float, str], None]  # seconds since power-on, a line of the console


class Ended(Exception):
    """The node did not come to what was waited for: it died, it stopped, or time ran out."""


def pxe_rom(roots: Iterable[str]) -> str:
    """iPXE as a kernel, as distributions pack it. Raises Refused where none is below `roots`."""
    found = first_loader(roots, ("usr/lib/ipxe/ipxe.lkrn", "usr/share/ipxe/ipxe.lkrn"))
    if not found:
        what = "no ipxe.lkrn, by which a virtual BIOS boots from the network"
        raise Refused(f"{what}: install ipxe, on Ubuntu grub-ipxe, too, on EL ipxe-bootimgs-x86")
    return found


class VM:
    """A running node. `lines` are (seconds since power-on, text), as they come."""

    def __init__(
        self, machine: Machine, show: Show | None = None, raw: Callable[[str], None] | None = None
    ):
        self.machine, self.show, self.raw = machine, show, raw
        self.lines: list[tuple[float, str]] = []
        self.partial = ""
        self.news = threading.Condition()
        self.over = False
        self.started = time.monotonic()
        os.makedirs(machine.work, exist_ok=True)
        self.qmp = f"{RUN}/qmp{machine.number}.sock"  # a socket's path is short: unix(7)
        with open(self._file(f"qemu{machine.number}.err"), "wb") as errors:
            self.process = subprocess.Popen(
                arguments(machine, self.qmp),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        threading.Thread(target=self._listen, daemon=True).start()
        if machine.unplugged:
            self._unplug()

    def _unplug(self) -> None:
        """Take cables out, and only then have its processor start."""
        while self.process.poll() is None:
            with contextlib.suppress(OSError):  # its socket is not there yet
                for card in unplugged_cards(self.machine):
                    self._say("set_link", name=card, up=False)
                return self._say("cont")
            time.sleep(0.05)

    def _file(self, name: str) -> str:
        return os.path.join(self.machine.work, name)

    def _listen(self) -> None:
        assert self.process.stdout
        console = self.process.stdout.fileno()
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        with open(self._file(f"console{self.machine.number}.log"), "a") as log:
            while data := os.read(console, 65536):
                self._heard(decode(data), log)
        with self.news:
            self.over = True
            self.news.notify_all()

    def _heard(self, text: str, log: IO[str]) -> None:
        if self.raw:
            self.raw(text)
        with self.news:
            text = self.partial + text.replace("\r", "")
            *whole, self.partial = text.split("\n")
            now = time.monotonic() - self.started
            for heard in whole:
                line = ESCAPES.sub("", heard).strip()
                self.lines.append((now, line))
                print(f"{now:8.2f} {line}", file=log, flush=True)
                if self.show:
                    self.show(now, line)
            self.news.notify_all()

    def expect(self, pattern: str, seconds: float, died: str = DIED) -> tuple[float, str]:
        """The first line that matches, and when; a prompt without a newline counts, too.

        Raises Ended at a line that matches `died`, and after so many `seconds`.
        """
        end = time.monotonic() + seconds
        seen = 0
        with self.news:
            while True:
                for at, line in self.lines[seen:]:
                    if re.search(pattern, line):
                        return at, line
                    if re.search(died, line):
                        raise Ended(line)
                seen = len(self.lines)
                if re.search(pattern, self.partial):
                    return time.monotonic() - self.started, self.partial
                if self.over:
                    raise Ended(f"the node stopped before /{pattern}/")
                if time.monotonic() > end:
                    raise Ended(f"{seconds:.0f} s went by before /{pattern}/")
                self.news.wait(0.5)

    def type(self, keys: bytes) -> None:
        """Type on the console."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is off
            self.process.stdin.write(keys)
            self.process.stdin.flush()

    def cut(self) -> None:
        """Pull the plug: what QEMU accepted stays on the disk, what was in memory is gone."""
        with contextlib.suppress(OSError, ValueError):
            self._say("quit")
        self.wait(10)

    def wait(self, seconds: float) -> bool:
        """True if the node ended by itself within `seconds`; it is ended otherwise."""
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False

    def power_button(self) -> None:
        """What an ACPI system ends cleanly on."""
        self._say("system_powerdown")

    def _say(self, command: str, **arguments: str | bool) -> None:
        wanted = {"execute": command, "arguments": arguments}
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(self.qmp)
            stream: IO[str] = channel.makefile("rw")
            stream.readline()
            for said in ({"execute": "qmp_capabilities"}, wanted):
                stream.write(json.dumps(said) + "\n")
                stream.flush()
                stream.readline()


def arguments(machine: Machine, qmp: str) -> list[str]:
    """QEMU's command line. One CPU is the fastest under emulation (measured)."""
    accel = "kvm" if os.environ.get("PLUGNODE_ACCEL") == "kvm" else "tcg,thread=multi,tb-size=512"
    words = [PROGRAMS[machine.arch], "-M", _board(machine), "-accel", accel]
    words += ["-cpu", PROCESSORS[machine.arch], "-smp", "1", "-m", str(machine.memory)]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]
    words += ["-serial", "stdio", "-monitor", "none"]
    words += [] if machine.reboots else ["-no-reboot"]
    words += ["-qmp", f"unix:{qmp},server=on,wait=off"]
    words += ["-object", "rng-random,id=r0,filename=/dev/urandom"]
    words += ["-device", "virtio-rng-pci,rng=r0"]
    if machine.unplugged:
        words += ["-S"]  # its processor waits until the cables are out
    return words + _network_cards(machine) + _disks(machine) + _tpm(machine) + _start(machine)


def _board(machine: Machine) -> str:
    """With Secure Boot one whose firmware alone may write to its variables, in SMM."""
    if machine.arch == ARM64:
        return "virt"
    return f"{'q35,smm=on' if machine.firmware == 'secure' else 'pc'},graphics=off"


def _network_cards(machine: Machine) -> list[str]:
    """With QEMU's own iPXE as its ROM, or with none where something else does the ROM's work."""
    boots_by_rom = machine.firmware == "ipxe" and not machine.direct
    rom = "bootindex=1" if boots_by_rom else "romfile="
    nic = NICS[machine.nic]

    others = []
    for number, mac in enumerate([*machine.strangers, *machine.unplugged]):
        nowhere = ["-netdev", f"hubport,id=s{number},hubid={9 + number}"]
        card = f"{nic},id=c{number},netdev=s{number},mac={mac},romfile="
        others.append([*nowhere, "-device", card])
    own = ["-netdev", _cable(machine), "-device", f"{nic},netdev=n0,mac={machine.mac},{rom}"]
    for number, (mac, tap) in enumerate(machine.cabled, 1):
        card = f"{nic},netdev=n{number},mac={mac},romfile="
        own += ["-netdev", f"tap,id=n{number},{TAP.format(tap)}", "-device", card]

    before = len(machine.strangers) + 1
    return list(chain(*others[:before], own, *others[before:]))


TAP = "ifname=tap{},script=no,downscript=no,vhost=off"


def _cable(machine: Machine) -> str:
    """What its own card is plugged into."""
    if not machine.vlan:
        return f"tap,id=n0,{TAP.format(machine.number)}"
    port, card = port_ends(machine.number)
    ends = f"local.type=unix,local.path={card},remote.type=unix,remote.path={port}"
    return f"dgram,id=n0,{ends}"


def unplugged_cards(machine: Machine) -> list[str]:
    """QEMU's names of the cards without a cable."""
    first = len(machine.strangers)
    return [f"c{first + number}" for number in range(len(machine.unplugged))]


def _disks(machine: Machine) -> list[str]:
    first = [(machine.disk, machine.bus)] if machine.disk else []
    words = []
    for number, (image, bus) in enumerate([*first, *machine.more_disks]):
        drive = f"if=none,id=d{number},file={image},format=raw,cache=unsafe,discard=unmap"
        words += ["-drive", drive]
        for device in DISKS[bus]:
            words += ["-device", device.replace("%d", str(number))]
    return words


def _tpm(machine: Machine) -> list[str]:
    if not machine.tpm:
        return []
    words = ["-chardev", f"socket,id=t0,path={machine.tpm}", "-tpmdev", "emulator,id=t0,chardev=t0"]
    return [*words, "-device", "tpm-tis,tpmdev=t0"]


def _start(machine: Machine) -> list[str]:
    if machine.direct:
        kernel, initrd, words = machine.direct
        flash = FIRMWARE[machine.firmware](machine) if machine.firmware in OVMF else []
        return [*flash, "-kernel", kernel, "-initrd", initrd, "-append", words]
    return FIRMWARE[machine.firmware](machine)


# A BIOS has no PXE of its own, and QEMU's cards have iPXE as theirs, which gives itself away in
# DHCP and is served boot.ipxe. This makes of iPXE what a server's card has: a ROM that calls
# itself PXEClient and no more.
PLAIN_PXE = """\
#!ipxe
set net0/user-class PXEClient
dhcp net0 || reboot
chain tftp://${next-server}/${filename} || reboot
"""


def _bios(machine: Machine) -> list[str]:
    script = os.path.join(machine.work, "plain-pxe.ipxe")
    with open(script, "w") as file:
        file.write(PLAIN_PXE)
    return ["-kernel", machine.pxe_rom, "-initrd", script]


NO_PXE: list[str] = []  # OVMF boots by HTTP then: it tries PXE before
for version in ("IPv4", "IPv6"):
    NO_PXE += ["-fw_cfg", f"name=opt/org.tianocore/{version}PXESupport,string=no"]


def _uefi(machine: Machine) -> list[str]:
    """OVMF with its own PXE client, and variables of this machine's own."""
    if machine.arch == ARM64:
        return _aavmf(machine)
    found = [pair for pair in OVMF[machine.firmware] if os.path.exists(pair[0])]
    if not found:
        raise Refused("no OVMF, the virtual machine's UEFI: install ovmf, on EL edk2-ovmf")
    code, original = found[0]
    variables = os.path.join(machine.work, f"{machine.firmware}{machine.number}.fd")
    if not os.path.exists(variables):
        held = read(original)
        if machine.certificate:
            held = trust_certificate(held, certificate_of(read(machine.certificate)))
        write_atomic(variables, held)
    protected = ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    return [
        *(protected if machine.firmware == "secure" else []),
        *(NO_PXE if machine.by_http else []),
        "-drive",
        f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
        "-drive",
        f"if=pflash,format=raw,unit=1,file={variables}",
    ]


def _aavmf(machine: Machine) -> list[str]:
    """The same for ARM: each file is as large as the flash that it is put into."""
    found = [pair for pair in AAVMF if os.path.exists(pair[0])]
    if not found:
        what = "no AAVMF, the UEFI of a virtual machine with arm64"
        raise Refused(f"{what}: install qemu-efi-aarch64, on EL edk2-aarch64")
    words = []
    for number, (original, name) in enumerate(zip(found[0], ("code", "variables"))):
        file = os.path.join(machine.work, f"arm64-{name}{machine.number}.fd")
        if not os.path.exists(file):
            shutil.copy(original, file)
            os.truncate(file, FLASH)
        words += ["-drive", f"if=pflash,format=raw,unit={number},file={file}"]
    return words


def _ipxe(machine: Machine) -> list[str]:
    """QEMU's own card ROM, which SeaBIOS starts."""
    return []


FIRMWARE = {"bios": _bios, "uefi": _uefi, "secure": _uefi, "ipxe": _ipxe}
