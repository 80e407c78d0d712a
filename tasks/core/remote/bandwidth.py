"""Bandwidth: what all servers together are sent, shared by those that are not done yet.

A server is sent one thing at a time: files by rsync, which is told a rate once, or words. What
files on their way do not take is shared by all others that are not done, so all together are never
sent more than the whole. Servers that wait for a root file lend their shares to the one that is
sent it; but for one share, with which another one begins where that is slow.
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
        self.rates: dict[str, int] = {}  # bytes a second of files on their way, by server
        self.waiting = 0  # servers that wait for what another one is sent

    def __bool__(self) -> bool:
        return self.bytes > 0

    def one_is_done(self, server: str) -> None:
        self.left -= 1
        self.end(server)

    @property
    def share(self) -> int:
        """Bytes a second that one server may be sent from now on."""
        rest = self.bytes - sum(self.rates.values())
        sharing = min(self.left, self.at_once) - len(self.rates)
        return max(KIB, int(rest / max(1, sharing)))

    def begin(self, server: str, others_wait: bool = False) -> list[str]:
        """Files are on their way to a server from now on: the rate, as rsync is told it."""
        if not self:
            return []
        lent = max(0, self.waiting - 1) if others_wait else 0
        rate = self.share * (1 + lent) // KIB
        self.rates[server] = rate * KIB
        return [f"--bwlimit={rate}"]

    def end(self, server: str) -> None:
        """They are there."""
        self.rates.pop(server, None)


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
