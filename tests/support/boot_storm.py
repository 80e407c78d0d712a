"""A storm of boots: one node boots as a virtual machine, and many do over the wire what it did there.

Run as a program inside `lab.UNSHARE`, `boot_storm.py JOB`: what each phase moved and cost, as JSON lines. What the node
called of NFS is kept as it was, file handles too, and sent again by each of the many: nothing is there to be written.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.core.lab.capture import IPV4, NFS_CALL, TCP, Capture, listen
from tasks.core.lab.network import BRIDGE, Daemons, Lab, boot_server, sh
from tasks.core.lab.qemu import VM, Machine
from tasks.core.lab.run import READY
from tests.support.load import Node, Phase, measured

NFS_PORT = 2049
BURST = "256k"  # of the shaped link: a few segments as the kernel hands them over
PATIENCE = 900  # seconds for all nodes of a phase
LAST = 0x8000_0000  # of a record's mark (RFC 5531): its last fragment
PROCEDURES = {  # RFC 1813
    1: "getattr", 3: "lookup", 4: "access", 5: "readlink", 6: "read",
    16: "readdir", 17: "readdirplus", 18: "fsstat", 19: "fsinfo", 20: "pathconf",
}  # fmt: skip
REPLAY = """
import socket, sys
def rest(wire, length):
    while length:
        length -= len(wire.recv(min(length, 1 << 18)))
calls = open(sys.argv[2], "rb")
with socket.create_connection((sys.argv[1], 2049)) as wire:
    while mark := calls.read(4):
        wire.sendall(mark + calls.read(int.from_bytes(mark, "big") & 0x7FFFFFFF))
        more = True
        while more:
            mark = int.from_bytes(wire.recv(4, socket.MSG_WAITALL), "big")
            rest(wire, mark & 0x7FFFFFFF)
            more = not mark >> 31
"""


@dataclass(frozen=True)
class Storm:
    lab: Lab
    counts: tuple[int, ...]  # nodes at once, one storm after the other
    mbit: int  # of the server's link
    machine: Machine | None  # whose calls of NFS all make; None: it reads nothing there
    loaded: tuple[str, ...]  # kernel and initrds, below the TFTP root
    root: str = ""  # of a root that is fetched: its file, as HTTP has it


@dataclass
class Calls:
    """What a node calls of NFS, from when this is made."""

    mac: str
    streams: dict[int, bytearray] = field(default_factory=dict)  # by its port
    following: dict[int, int] = field(default_factory=dict)  # by its port: the next byte's number

    def __post_init__(self) -> None:
        self.socket = listen(BRIDGE)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        source = bytes.fromhex(self.mac.replace(":", ""))
        while True:
            frame = self.socket.recv(1 << 16)
            if frame[6:14] == source + IPV4 and frame[23] == TCP:
                packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
                self._segment(packet[(packet[0] & 15) * 4 :])

    def _segment(self, segment: bytes) -> None:
        """What comes next of a connection; what comes again is left out."""
        if int.from_bytes(segment[2:4], "big") != NFS_PORT:
            return
        port, number = int.from_bytes(segment[:2], "big"), int.from_bytes(segment[4:8], "big")
        data = segment[(segment[12] >> 4) * 4 :]
        if not data or number != self.following.get(port, number):
            return
        self.streams.setdefault(port, bytearray()).extend(data)
        self.following[port] = (number + len(data)) % (1 << 32)

    def records(self) -> Iterator[bytes]:
        """Each call with its mark."""
        for stream in map(bytes, self.streams.values()):
            while len(stream) >= 4:
                end = 4 + (int.from_bytes(stream[:4], "big") & ~LAST)
                if stream[8:20] == NFS_CALL and end <= len(stream):
                    yield stream[:end]
                stream = stream[end:]


def record(job: Storm, file: pathlib.Path) -> None:
    """Have the machine boot, and write down what it calls until it is ready."""
    assert job.machine
    calls = Calls(job.machine.mac)
    vm = VM(job.machine)
    vm.expect(READY, PATIENCE)
    vm.cut()
    records = list(calls.records())
    file.write_bytes(b"".join(records))
    kinds = Counter(int.from_bytes(record[24:28], "big") for record in records)
    named = {PROCEDURES.get(kind, str(kind)): count for kind, count in kinds.most_common()}
    print(json.dumps({"phase": "boot", "calls": named}), flush=True)


def phases(job: Storm, calls: pathlib.Path) -> Iterator[tuple[str, Phase]]:
    server = job.lab.address
    tftp = [
        f"curl -sS --tftp-blksize 1468 -o /dev/null tftp://{server}/{path}" for path in job.loaded
    ]
    yield "tftp", Phase("dnsmasq", tftp, [])
    yield "http", Phase("nginx", fetched(server, *job.loaded), [])
    if job.root:
        yield "root", Phase("nginx", fetched(server, job.root), [])
    if job.machine:
        replay = [f"{sys.executable} -ISc '{REPLAY}' {server} {calls}"]
        yield "nfs", Phase("ganesha", replay, [])


def fetched(server: str, *paths: str) -> list[str]:
    """By the initrd's own wget."""
    return [f"busybox wget -q -O /dev/null http://{server}/{path}" for path in paths]


def storms(job: Storm, daemons: Daemons) -> None:
    work = pathlib.Path(job.lab.logs)
    calls = work / "calls"
    if job.machine:
        record(job, calls)
    nodes = [Node(number, work) for number in range(max(job.counts))]
    wire = Capture(BRIDGE, [node.mac for node in nodes], lambda mac, kind, text: None)
    sh("tc", "qdisc", "add", "dev", BRIDGE, "root", "tbf", *shape(job.mbit))
    for count in job.counts:
        for name, phase in phases(job, calls):
            found = measured(phase, nodes[:count], daemons, wire, PATIENCE)
            print(json.dumps({"phase": name, **found}), flush=True)


def shape(mbit: int) -> list[str]:
    return ["rate", f"{mbit}mbit", "burst", BURST, "latency", "200ms"]


def main(path: str) -> None:
    data = json.loads(pathlib.Path(path).read_text())
    machine = Machine(**data["machine"]) if data["machine"] else None
    job = Storm(**{**data, "lab": Lab(**data["lab"]), "machine": machine})
    os.chdir(job.lab.logs)
    with boot_server(job.lab) as daemons:
        storms(job, daemons)


if __name__ == "__main__":
    main(sys.argv[1])
