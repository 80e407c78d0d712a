"""Power a lab's nodes on, and tell what happens.

`power_on` runs this module as a program inside `network.UNSHARE`:

    job.json ──> servers, capture, virtual machines ──> one JSON object a line, a BootEvent

A BootEvent has "power", "node", "at", "kind", "text" and the numbers of MOVED. The kinds: "lab"
(its process), "power" (on), "console" (a line), "raw" (console text as it comes), "dhcp", "tftp",
"tftp error", "http" (`capture`), "sshd" (what answers), "reached" (what was waited for), "ended"
(it was not, and why), "off" (how it went off).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any

from ..base.files import REPOSITORY
from .capture import Capture
from .network import BRIDGE, UNSHARE, Daemons, Lab, boot_server
from .qemu import DIED, VM, Ended, Machine
from .vlan import start_port

READY = "plugnode: node: ready"  # the last line of overlays/worker/etc/tell.sh
HUNG = 240  # seconds that a system gets to power itself off
# What each event tells of its node since power-on: bytes, and calls of NFS
MOVED = ("tftp", "http", "nfs", "calls")
LEAVE = b"\x1d"  # Ctrl-], as in telnet

BootEvent = dict[str, Any]


@dataclass(frozen=True)
class PowerState:
    """Machines switched on together, until each console says something."""

    machines: tuple[Machine, ...]
    until: str = READY  # a regular expression
    died: str = DIED  # another: then it will not come to that
    seconds: float = 1200  # a node that is emulated, on a machine that has much else to do, is slow
    # "cut" | "button": of the case | "poweroff": typed at its console | "keep": until it is ended
    then: str = "cut"
    sshd: bool = False  # look whether it answers
    later: float = 0  # seconds that it stays on after that


@dataclass(frozen=True)
class BootJob:
    """One lab, and what is powered on in it, one after the other."""

    lab: Lab
    powers: tuple[PowerState, ...]
    raw: bool = False  # tell the console as it comes, too


def power_on(job: BootJob, stdin: Any = subprocess.DEVNULL) -> Iterator[BootEvent]:
    """Run a job in namespaces of its own; what it tells, as it comes. Needs root.

    All of it ends with this process, however that ends, and when the iterator is closed. Raises
    RuntimeError with the words of a lab that did not start.
    """
    path = _write_job(job)
    with open(os.path.join(job.lab.logs, "lab.err"), "w+") as errors:
        lab = subprocess.Popen(
            _program(path),
            cwd=REPOSITORY,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert lab.stdout
            unmoved = dict.fromkeys(MOVED, 0)
            yield _event(-1, 0, 0, "lab", str(lab.pid)) | unmoved
            yield from map(json.loads, lab.stdout)
            if lab.wait():
                said = _last_line(errors)
                raise RuntimeError(said or f"the lab ended with {lab.returncode}")
        finally:
            lab.kill()
            lab.wait()


def _write_job(job: BootJob) -> str:
    """The file that a job is written to, among the logs."""
    os.makedirs(job.lab.logs, exist_ok=True)
    path = os.path.join(job.lab.logs, "job.json")
    with open(path, "w") as file:
        json.dump(dataclasses.asdict(job), file, indent=1)
    return os.path.abspath(path)


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip().rpartition("\n")[2]


def _program(path: str) -> list[str]:
    """This module as a program, in namespaces of its own."""
    # setpriv: this process's death takes `unshare` along, and that takes its namespaces
    until_we_end = ["setpriv", "--pdeathsig", "KILL"]
    module = [sys.executable, "-m", __name__]
    return [*until_we_end, *UNSHARE, *module, path]


def _event(power: int, node: int, at: float, kind: str, text: str) -> BootEvent:
    return {"power": power, "node": node, "at": at, "kind": kind, "text": text}


def read_job(path: str) -> BootJob:
    with open(path) as file:
        data = json.load(file)
    powers = tuple(map(_power_state, data["powers"]))
    return BootJob(Lab(**data["lab"]), powers, data["raw"])


def _power_state(written: dict[str, Any]) -> PowerState:
    machines = tuple(Machine(**machine) for machine in written["machines"])
    return PowerState(**{**written, "machines": machines})


# --- inside the namespaces


class LabRun:
    """A job at work."""

    def __init__(self, job: BootJob, daemons: Daemons):
        self.job, self.daemons = job, daemons
        self.number = -1  # of the PowerState
        self.vms: dict[str, VM] = {}  # by MAC
        self.addresses: dict[str, str] = {}
        self.lock = threading.Lock()
        machines = list(chain.from_iterable(power.machines for power in job.powers))
        for number, vlan in {(machine.number, machine.vlan) for machine in machines}:
            if vlan:
                start_port(number, vlan)
        self.capture = Capture(BRIDGE, [machine.mac for machine in machines], self.heard)

    def tell(self, machine: Machine, at: float, kind: str, text: str = "") -> None:
        event = _event(self.number, machine.number, round(at, 2), kind, text)
        for what in MOVED:
            event[what] = self.capture.count[machine.mac, what]
        with self.lock:
            print(json.dumps(event), flush=True)

    def tell_now(self, vm: VM, kind: str, text: str) -> None:
        self.tell(vm.machine, time.monotonic() - vm.started, kind, text)

    def heard(self, mac: str, kind: str, text: str) -> None:
        """Tell what goes over the wire, if it is of one of the nodes."""
        if kind == "dhcp":
            self.addresses[mac] = text
        if vm := self.vms.get(mac):
            self.tell_now(vm, kind, text)

    def power(self, power: PowerState) -> bool:
        """Whether every machine came to where it was wanted."""
        self.number += 1
        self.capture.count.clear()
        self.addresses.clear()
        self.vms = {machine.mac: self.start(machine) for machine in power.machines}
        came = [self.came(vm, power) for vm in self.vms.values()]
        for vm, reached in zip(self.vms.values(), came):
            how = self.finish(vm, power.then if reached else "cut")
            self.tell_now(vm, "off", how)
        return all(came)

    def start(self, machine: Machine) -> VM:
        def line(at: float, text: str) -> None:
            self.tell(machine, at, "console", text)

        def raw(text: str) -> None:
            self.tell(machine, 0, "raw", text)

        self.tell(machine, 0, "power", machine.firmware)
        return VM(machine, line, raw if self.job.raw else None)

    def came(self, vm: VM, power: PowerState) -> bool:
        """Whether a machine came to where it was wanted, in time."""
        left = vm.started + power.seconds - time.monotonic()
        try:
            at, line = vm.expect(power.until, max(0, left), power.died)
        except Ended as end:
            self.tell_now(vm, "ended", str(end))
            return False
        self.tell(vm.machine, at, "reached", line)
        if power.sshd:
            address = self.addresses.get(vm.machine.mac, "")
            self.tell_now(vm, "sshd", banner(address, 22))
        time.sleep(power.later)
        return True

    def finish(self, vm: VM, then: str) -> str:
        """Switch a machine off as `then` says; how it went off."""
        if then == "cut":
            vm.cut()
            return "cut"
        if then == "keep":
            threading.Thread(target=type_through, args=(vm,), daemon=True).start()
            vm.process.wait()
            return "cut"
        if then == "button":
            vm.power_button()
        else:
            type_at_prompt(vm, then)
        return "by itself" if vm.wait(HUNG) else "hung"


def type_at_prompt(vm: VM, command: str) -> None:
    """Type a command at the root shell that a node has with `plugnode.debug`, once it is there."""
    vm.type(b"\r")
    with contextlib.suppress(Ended):
        vm.expect(r"# $", HUNG, died="(?!)")
        vm.type(f"{command}\r".encode())


def type_through(vm: VM) -> None:
    """Make this terminal the node's console until Ctrl-]; the input's end is none of the node's."""
    vm.type(b"\r")  # for a prompt
    while data := os.read(0, 1024):
        if LEAVE in data:
            return vm.cut()
        vm.type(data)


def banner(address: str, port: int, seconds: float = 20) -> str:
    """What a server says first, nothing if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while address and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 3) as peer:
            if text := peer.recv(200).decode("ascii", "replace").strip():
                return text
        time.sleep(0.5)
    return ""


def main(path: str) -> None:
    job = read_job(path)
    with boot_server(job.lab) as daemons:
        run = LabRun(job, daemons)
        for power in job.powers:
            if not run.power(power):
                break


if __name__ == "__main__":
    main(sys.argv[1])
