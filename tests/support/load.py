"""Many nodes at once, in small: each a network namespace with clients of its own, at a lab's real servers.

Run as a program inside `lab.UNSHARE`: `storm.py JOB`, JSON in, JSON lines out: what each phase moved and cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from tasks.core.lab.capture import Capture
from tasks.core.lab.network import BRIDGE, Daemons, Lab, boot_server, sh

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120  # seconds for all clients of a phase
READS, LISTS = (
    8,
    20,
)  # so often each node reads every file, and lists: a server's processor time shows in hundredths
CROWD = 80  # requests at once of one node, all of them to be answered before any is acknowledged
ASK = """
import select, socket, sys
asked = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[1]))]
for each in asked:
    each.sendto(b"\\0\\1" + sys.argv[3].encode() + b"\\0octet\\0", (sys.argv[2], 69))
answered = set()
while found := select.select([each for each in asked if each not in answered], [], [], 3)[0]:
    answered.update(found)
for each in answered:
    each.sendto(b"\\0\\5\\0\\0enough\\0", each.recvfrom(2000)[1])
print(len(answered))
"""


@dataclass(frozen=True)
class Job:
    lab: Lab
    counts: tuple[int, ...]  # nodes at once, one storm after the other
    tftp: tuple[str, ...]  # files, as they are asked for; by HTTP, too
    nfs: tuple[str, ...]  # files below the export
    listed: str  # a folder there that is read with everything below it


class Node:
    """A namespace on the lab's bridge, with a MAC and an address."""

    def __init__(self, number: int, work: pathlib.Path):
        self.name, self.port = f"n{number}", f"veth{number}"
        self.mac, self.folder = f"02:00:00:00:00:{number:02x}", work / f"n{number}"
        self.folder.mkdir()
        sh("ip", "netns", "add", self.name)
        sh(
            "ip",
            "link",
            "add",
            self.port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        sh("ip", "link", "set", self.port, "master", BRIDGE, "up")
        for words in (
            f"link set eth0 address {self.mac} up", f"addr add 172.24.10.{100 + number}/24 dev eth0",
        ):  # fmt: skip
            sh("ip", "-n", self.name, *words.split())

    def start(self, script: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, "sh", "-euc", script], cwd=self.folder
        )

    def moved(self) -> int:
        """Bytes, both ways, by the kernel's own count."""
        place = pathlib.Path("/sys/class/net", self.port, "statistics")
        return sum(int((place / name).read_text()) for name in ("rx_bytes", "tx_bytes"))

    def took(self, name: str) -> list[int | str]:
        """Size and digest of a file that it loaded; of a crowd how many were answered."""
        data = (self.folder / name).read_bytes()
        (self.folder / name).unlink()
        return [len(data), hashlib.sha256(data).hexdigest()] if name != "crowd" else [int(data)]


def cpu(pid: int) -> float:
    """Seconds of a server's processors and its workers'; not of in.tftpd's children, for which it never waits."""
    place = pathlib.Path(f"/proc/{pid}")
    workers = (place / f"task/{pid}/children").read_text().split()
    return sum(map(own_cpu, [pid, *map(int, workers)]))


def own_cpu(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS


class Phase(NamedTuple):
    """All nodes load one thing at once."""

    server: str  # its name among the lab's daemons
    script: list[str]  # of a node
    files: list[str]  # that it leaves


def phases(job: Job) -> dict[str, Phase]:
    server, tftpd = job.lab.address, "dnsmasq" if job.lab.dhcp == "dnsmasq" else "tftpd"
    tftp = [
        f"curl -sS --tftp-blksize 1468 -o t{n} tftp://{server}/{path}"
        for n, path in enumerate(job.tftp)
    ]
    http = [
        f"for _ in $(seq {READS}); do busybox wget -q -O h{n} http://{server}/{path}; done"
        for n, path in enumerate(job.tftp)
    ]
    nfs = [
        f"for _ in $(seq {READS}); do nfs-cat 'nfs://{server}{path}' >f{n}; done"
        for n, path in enumerate(job.nfs)
    ]
    calls = [f"for _ in $(seq {LISTS}); do nfs-ls -R 'nfs://{server}{job.listed}' >/dev/null; done"]
    crowd = [f"{sys.executable} -c '{ASK}' {CROWD} {server} {job.tftp[0]} >crowd"]
    return {
        "tftp": Phase(tftpd, tftp, [f"t{n}" for n in range(len(tftp))]),
        "crowd": Phase(tftpd, crowd, ["crowd"]),
        "http": Phase("nginx", http, [f"h{n}" for n in range(len(http))]),
        "nfs": Phase("ganesha", nfs, [f"f{n}" for n in range(len(nfs))]),
        "calls": Phase("ganesha", calls, []),
    }


def run(nodes: list[Node], script: list[str], patience: float = PATIENCE) -> None:
    """All nodes at once; every one of them must come to its end."""
    end, clients = time.monotonic() + patience, [node.start("\n".join(script)) for node in nodes]
    failed = [
        number
        for number, client in enumerate(clients)
        if client.wait(max(1, end - time.monotonic()))
    ]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(nodes)} nodes got not what they asked for")


def storm(job: Job, nodes: list[Node], daemons: Daemons, wire: Capture) -> None:
    for name, phase in phases(job).items():
        asking = nodes[:1] if name == "crowd" else nodes
        print(json.dumps({"phase": name, **measured(phase, asking, daemons, wire)}), flush=True)


def measured(
    phase: Phase, nodes: list[Node], daemons: Daemons, wire: Capture, patience: float = PATIENCE
) -> dict:
    """What a phase moved and cost: seconds to the last node, of the server's processors, bytes and calls of each."""
    pid = daemons.running[phase.server].pid
    wire.count.clear()
    before, used, begun = [node.moved() for node in nodes], cpu(pid), time.monotonic()
    run(nodes, phase.script, patience)
    seconds = time.monotonic() - begun
    time.sleep(0.5)  # the wire's own thread, and the last child of a server
    return {
        "nodes": len(nodes), "seconds": seconds, "cpu": cpu(pid) - used,
        "bytes": [node.moved() - was for node, was in zip(nodes, before)],
        "http": [wire.count[node.mac, "http"] for node in nodes],
        "calls": [wire.count[node.mac, "calls"] for node in nodes],
        "took": [[node.took(file) for file in phase.files] for node in nodes],
    }  # fmt: skip


def main(path: str) -> None:
    data = json.loads(pathlib.Path(path).read_text())
    job = Job(**{**data, "lab": Lab(**data["lab"])})
    with boot_server(job.lab) as daemons:
        nodes = [Node(number, pathlib.Path(path).parent) for number in range(max(job.counts))]
        wire = Capture(BRIDGE, [node.mac for node in nodes], lambda mac, kind, text: None)
        for count in job.counts:
            storm(job, nodes[:count], daemons, wire)


if __name__ == "__main__":
    main(sys.argv[1])
