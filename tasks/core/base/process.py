"""Other programs at long work: heard while they run, ended when we end."""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import subprocess
import time
from functools import cache
from typing import Any, BinaryIO, Callable, Iterator, NoReturn

from .errors import Refused

Say = Callable[[str], None]

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent(parent: int) -> None:
    """Have this process, which a thread of `parent` has just forked, killed when that ends."""
    _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def _prctl() -> Callable[[int, int], int]:
    import ctypes  # not for a run with nothing to do

    return ctypes.CDLL(None).prctl


def bind_children() -> None:
    """Have every process that is forked from here on die with the one that forked it."""
    parents: list[int] = []

    def note() -> None:
        _prctl()  # once: each child would load it anew
        parents[:] = [os.getpid()]

    os.register_at_fork(before=note, after_in_child=lambda: die_with_parent(*parents))


_SHARES = 250  # of the jobs of two processes: a byte names one


def in_two(work: Callable[[int], Any], count: int, hush: Callable[[], None]) -> list[Any]:
    """Do `work` on each number below `count`, some of them in a helper that is forked from here.

    Gives what it gave, which must be what marshal can write. None stands where the helper failed or
    did not tell: those are to be done here, and whatever is wrong is then found here, too. Where
    this one raises, the helper has ended before. `hush` is called in the helper, which has nobody
    to tell how far it is.
    """

    def help(said: int) -> None:
        hush()
        done: dict[int, Any] = {}
        with contextlib.suppress(Exception):
            for number in _claimed(count, claims):
                done[number] = work(number)
        with open(said, "wb") as pipe:
            pipe.write(marshal.dumps(done))

    with _claims() as claims, _helper(help) as heard:
        ours = {number: work(number) for number in _claimed(count, claims)}
        both = _told(heard) | ours
    return list(map(both.get, range(count)))


def _claims() -> BinaryIO:
    """A pipe with a byte for each share; whoever reads one does that share."""
    claims, made = os.pipe()
    os.write(made, bytes(range(_SHARES)))
    os.close(made)
    return open(claims, "rb", buffering=0)


def _claimed(count: int, claims: BinaryIO) -> Iterator[int]:
    """The numbers of each share that is left when we ask."""
    while share := claims.read(1):
        yield from range(count * share[0] // _SHARES, count * (share[0] + 1) // _SHARES)


@contextlib.contextmanager
def _helper(help: Callable[[int], None]) -> Iterator[int]:
    """Fork a helper, which writes to a pipe that it is given; gives the pipe's other end.

    Signals that end us are ours alone, and it ends with us, or when it is left.
    """
    heard, said = os.pipe()
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    parent, helper = os.getpid(), os.fork()
    if not helper:
        _do_and_end(parent, help, said)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.close(said)
        yield heard
    finally:
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)
        os.close(heard)


def _do_and_end(parent: int, help: Callable[[int], None], said: int) -> NoReturn:
    try:
        die_with_parent(parent)
        help(said)
    finally:
        os._exit(0)


def _told(heard: int) -> dict[int, Any]:
    """What the helper did; nothing where it did not come to its end."""
    with open(heard, "rb", closefd=False) as pipe:
        said = pipe.read()
    try:
        told: dict[int, Any] = marshal.loads(said)
        return told
    except (EOFError, ValueError, TypeError):
        return {}


def has_two_processors() -> bool:
    return len(os.sched_getaffinity(0)) > 1


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
