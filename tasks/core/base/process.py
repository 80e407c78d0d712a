"""Other programs at long work: heard while they run, ended when we end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, Iterator

from .errors import Refused

Say = Callable[[str], None]

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent(parent: int) -> None:
    """Have this process, which a thread of `parent` has just forked, killed when that ends."""
    import ctypes  # not for a run with nothing to do

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def bind_children() -> None:
    """Have every process that is forked from here on die with the one that forked it."""
    parents: list[int] = []

    def note() -> None:
        parents[:] = [os.getpid()]

    os.register_at_fork(before=note, after_in_child=lambda: die_with_parent(*parents))


_CLONE_NEWUSER, _CLONE_NEWNS = 0x10000000, 0x00020000  # of unshare(2)


def become_root_alone() -> None:
    """Make this process, forked just now, root of a user namespace that has no other user.

    It may give itself another root folder then, and read no more than before. Raises OSError.
    """
    import ctypes  # not for a run with nothing to do

    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNS):
        why = os.strerror(ctypes.get_errno())
        remedy = "allow them (user_namespaces(7)), or run it as root"
        raise OSError(f"ordinary users may make no user namespaces here: {why}; {remedy}")
    maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
    for name, line in maps.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


class Program:
    """A program that runs: its words line by line, then its exit status.

    It ends with us, whatever ends us: an orphan would go on writing where the next run begins.
    `ending` is the signal that it is sent then.
    """

    def __init__(
        self,
        argv: list[str],
        given: bytes = b"",
        environment: dict[str, str] | None = None,
        ending: str = "TERM",
    ):
        self.argv = ["setpriv", "--pdeathsig", ending, "--", *argv]  # prctl(PR_SET_PDEATHSIG)
        self.ending = signal.Signals[f"SIG{ending}"]
        self.given = given
        self.environment = {**os.environ, "LC_ALL": "C", **(environment or {})}
        self.status = -1

    def lines(self) -> Iterator[str]:
        """Give what it says on both its outputs, as it says it; a carriage return ends a line."""
        process = self._start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self.given)  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
        try:
            yield from _split(process.stdout.fileno())  # type: ignore[union-attr]
        finally:
            self.status = _end(process, self.ending)

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        except FileNotFoundError as error:
            raise Refused(
                f"{error.filename} is not installed; ./doit installs what is missing"
            ) from None


def _split(fd: int) -> Iterator[str]:
    rest = b""
    while piece := os.read(fd, 1 << 16):
        text = (rest + piece).replace(b"\r", b"\n")
        *whole, rest = text.split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def _end(process: subprocess.Popen[bytes], ending: signal.Signals) -> int:
    """Give its exit status; it is told to end where its words were not read to their end.

    That is so after an interrupt.
    """
    process.stdout.close()  # type: ignore[union-attr]
    try:
        return process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.send_signal(ending)
        return process.wait()


class Throttle:
    """Says the newest of many words, of long work: first after some seconds, then as often."""

    def __init__(self, say: Say, seconds: float = 5):
        self.say = say
        self.seconds = seconds
        self.last = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self.last >= self.seconds:
            self.last = now
            self.say(text)
