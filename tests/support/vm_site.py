"""Nodes of the tests, as virtual machines: a site that doit builds and deploys, and labs that serve it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tasks.base.options import LOADERS
from tasks.core.lab.network import Lab
from tasks.core.lab.qemu import Machine, pxe_rom
from tasks.core.lab.run import BootJob, PowerState, power_on
from tasks.core.lab.timeline import BootTimeline, line
from tests.support import vm_times
from tests.support.commands import Doit

SERVER = "172.24.10.1"
MIB = 1 << 20
QUICK_KEYS = """\
#!/bin/sh
# An RSA key of today's length takes an emulated processor half a minute
case " $* " in *" rsa "*) set -- "$@" -b 1024 ;; esac
exec /usr/bin/ssh-keygen "$@"
"""


class Grid:
    """A site in a folder of its own: built, deployed below it, and served when nodes boot."""

    def __init__(self, folder: Path, text: str, overlays: dict[str, str]):
        self.folder, self.doit = folder, Doit(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.doit.site.write_text(text)
        for name, script in overlays.items():
            path = folder / "overlays" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script)
            path.chmod(0o755)
        self.served = folder / "served"
        self.deploy()

    def deploy(self) -> None:
        self.doit("deploy", f"destdir={self.served}")

    def boot_lines(self, image: str, entry: str = "") -> tuple[str, list[str], str]:
        """Kernel, initrds and arguments that pxelinux would be told, by an entry or the image's."""
        text = (self.served / "tftpboot/plugnode" / f"{image}.cfg").read_text()
        text = text[text.index(f"LABEL {entry or image}\n") :]
        kernel, initrds, words = (
            re.search(rf"^ *{key} (.*)", text, re.M)[1] for key in ("KERNEL", "INITRD", "APPEND")
        )  # type: ignore
        return kernel, initrds.split(","), words

    def direct(
        self, image: str, mac: str, work: Path, extra: str = "", entry: str = ""
    ) -> tuple[str, str, str]:
        """The same without a loader: what it would do with them is done here."""
        kernel, initrds, words = self.boot_lines(image, entry)
        joined = work / f"{Path(kernel).parent}.initrd"
        if not joined.exists():
            parts = [(self.served / "tftpboot" / name).read_bytes() for name in initrds]
            joined.write_bytes(b"".join(part + b"\0" * (-len(part) % 4) for part in parts))
        bootif = "BOOTIF=01-" + mac.replace(":", "-")
        return str(self.served / "tftpboot" / kernel), str(joined), f"{words} {extra} {bootif}"

    def lab(self, work: Path, dhcp: str = "dhcpd", **how) -> Lab:
        configs = str(self.doit.build / "configs")
        return Lab(SERVER, 24, str(self.served), "/tftpboot", configs, dhcp, str(work), **how)

    def boot(
        self, work: Path, *powers: PowerState, hear: Callable[[str], None] = len, **how
    ) -> list[BootTimeline]:
        """Switch on; what each machine told, in the order of `powers`. Its own words are in pytest's output, how long
        each took in the summary (vm_times.py). `hear` is given each line of their consoles, when it comes."""
        taps = 0
        for machine in chain.from_iterable(power.machines for power in powers):
            taps = 1 + max([taps - 1, machine.number, *(tap for _, tap in machine.cabled)])
        machines = {
            (n, machine.number): machine
            for n, power in enumerate(powers)
            for machine in power.machines
        }
        stories: dict[tuple[int, int], BootTimeline] = {}
        start = time.monotonic()
        for event in power_on(BootJob(self.lab(work, taps=taps, **how), powers)):
            if event["kind"] == "lab":
                continue
            if event["kind"] == "console":
                hear(event["text"])
            key = event["power"], event["node"]
            if reached := stories.setdefault(key, BootTimeline()).feed(event):
                print(f"{key[0]}.{key[1]}", line(reached))
        print(f"all of it took {time.monotonic() - start:.0f} s")
        for key, story in sorted(stories.items()):
            vm_times.BOOTS.append(vm_times.boot(machines[key], how.get("dhcp", "dhcpd"), story))
            if story.ended:
                print(f"{key}: {story.ended}", *list(story.console)[-40:], sep="\n    ")
        return [stories[key] for key in sorted(stories)]


def disk(work: Path, mib: int = 1024, name: str = "disk.img") -> str:
    """A disk that has nothing on it."""
    path = work / name
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
    return str(path)


def firmware(machine: Machine, kind: str) -> Machine:
    """The machine, booting through its firmware."""
    return replace(machine, direct=None, firmware=kind, pxe_rom=pxe_rom(LOADERS))


def told(story: BootTimeline, pattern: str) -> list[str]:
    """What the pattern's group is in each line of the console that has it."""
    return [found[1] for text in story.console if (found := re.search(pattern, text))]
