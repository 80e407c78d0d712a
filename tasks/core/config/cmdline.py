"""Kernel command lines: what kernels take, and what loaders must know of a line."""

from __future__ import annotations

import re
from typing import NamedTuple


class Serial(NamedTuple):
    unit: str
    speed: str


def serial_console(cmdline: str, line: str = "ttyS") -> Serial | None:
    """The serial line that the kernel talks on, for the loader to do the same.

    It is the last `console=ttyS…`, or of lines by another name; without a speed it is 9600, as
    in the kernel
    (Documentation/admin-guide/serial-console.rst).
    """
    found = re.findall(rf"(?:^| )console={line}([0-9]+)(?:,([0-9]+))?", cmdline)
    if not found:
        return None
    unit, speed = found[-1]
    return Serial(unit, speed or "9600")


def line_limit(kernel_version: str) -> int:
    """Bytes of command line that an x86 kernel takes: COMMAND_LINE_SIZE less its end.

    It was 256 until 2.6.21, then 2048.
    """
    numbers = tuple(int(number) for number in re.findall(r"[0-9]+", kernel_version)[:3])
    return 255 if numbers < (2, 6, 22) else 2047


_PLAIN = re.compile(r"[\w.,:=/@%+~-]+", re.ASCII)


def grub_words(arguments: str) -> str:
    """Kernel arguments for GRUB's shell: words that it would expand (`*`, `[…]`) are quoted."""
    words = [word if _PLAIN.fullmatch(word) else f"'{word}'" for word in arguments.split()]
    return " ".join(words)
