"""Bandwidth: what all servers together are sent, shared by those that are not done yet.

A server is sent one thing at a time: files by rsync, which is told a rate once, or words. A rate is
a share among all that are not done at that moment. Shares only grow as servers are done, so what
was told earlier is never more than a share of now, and all together never more than the whole.
"""

from __future__ import annotations

from ClusterShell.Worker.Popen import WorkerPopen

WIRE = 1.06  # what ssh, TCP and Ethernet add to what they carry
TICK = 0.1  # seconds between pieces of what is said
KIB = 1024


class Bandwidth:
    """Of `bits` a second for so many servers, `at_once` at a time; of 0 bits: without a limit."""

    def __init__(self, bits: int, servers: int, at_once: int):
        self.bytes = bits / 8 / WIRE
        self.left, self.at_once = servers, at_once

    def __bool__(self) -> bool:
        return self.bytes > 0

    def one_is_done(self) -> None:
        self.left -= 1

    @property
    def share(self) -> int:
        """Bytes a second that one server may be sent from now on."""
        return int(self.bytes / max(1, min(self.left, self.at_once)))

    @property
    def of_rsync(self) -> list[str]:
        """The share as rsync is told it."""
        return [f"--bwlimit={max(1, self.share // KIB)}"] if self else []


class Words:
    """What a server is still to be told: at once, or piece by piece where there is a limit."""

    def __init__(self, worker: WorkerPopen, bandwidth: Bandwidth):
        self.worker, self.bandwidth = worker, bandwidth
        self.waiting = bytearray()

    def add(self, data: bytes) -> None:
        if self.bandwidth:
            self.waiting += data
        else:
            self.worker.write(data)

    def go_on(self) -> None:
        """Send the share of one tick."""
        size = int(self.bandwidth.share * TICK)
        piece = bytes(self.waiting[:size])
        del self.waiting[:size]
        if piece:
            self.worker.write(piece)
