"""Other programs at long work: heard while they run, ended when we end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Callable, Iterator

from .errors import Refused

Say = Callable[[str], None]


def die_with_parent() -> None:
    """This process, forked just now, is killed when the thread that forked it ends, whatever ends that."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Program:
    """A program that runs: its words line by line, then its exit status. It ends with us, whatever ends us.

    `ending` is the signal that it is sent then. An orphan would go on writing where the next run begins.
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
        self.given, self.environment = given, {**os.environ, "LC_ALL": "C", **(environment or {})}
        self.status = -1

    def lines(self) -> Iterator[str]:
        """What it says on both its outputs, as it says it; a carriage return ends a line too."""
        try:
            process = subprocess.Popen(
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
        try:
            process.stdin.write(self.given)  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
        except BrokenPipeError:
            pass
        try:
            yield from _split(process.stdout.fileno())  # type: ignore[union-attr]
        finally:
            self.status = _end(process, self.ending)


def _split(fd: int) -> Iterator[str]:
    rest = b""
    while piece := os.read(fd, 1 << 16):
        *whole, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _end(process: subprocess.Popen[bytes], ending: signal.Signals) -> int:
    """Its exit status; where its words are not read to their end (an interrupt), it is told to end first."""
    process.stdout.close()  # type: ignore[union-attr]
    try:
        return process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.send_signal(ending)
        return process.wait()


class Throttle:
    """Says the newest of many words, and only on long work: first after some seconds, then as often."""

    def __init__(self, say: Say, seconds: float = 5):
        self.say, self.seconds, self.last = say, seconds, time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.last >= self.seconds:
            self.last = time.monotonic()
            self.say(text)
