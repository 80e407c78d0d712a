"""The benchmarks: `./doit bench` starts this, as root.

Each case measures Plugnode and a peer at the same work in turns; docs/performance.md says how to read it. A whole run
writes bench/results.json, the table in docs/performance.md and docs/performance.svg; any other writes into `--out`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

from bench import results
from bench.cases import CASES, GROWTH
from bench.inputs import FULL, QUICK, REPOSITORY, TINY, Inputs, disk, unshare_mounts
from bench.rows import Curve, Results, Row

KEPT = REPOSITORY / "build/bench"
SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}
NAMES = (*CASES, *GROWTH)


def main() -> None:
    wanted = arguments()
    sizes = SIZES[wanted.size]
    if wanted.rounds:
        sizes = dataclasses.replace(sizes, rounds=wanted.rounds)
    kept = pathlib.Path(wanted.kept)
    unshare_mounts()
    with disk(kept) as folder:
        found = measure(Inputs(folder, kept, sizes), wanted.only or NAMES)
    whole = wanted.size == "full" and not wanted.only and not wanted.out
    results.write(
        found, results.PUBLISHED if whole else results.places(pathlib.Path(wanted.out or kept))
    )
    print(results.table(found), end="")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", default=(), type=names, metavar=",".join(NAMES))
    parser.add_argument("--out", default="", help="folder of the results")
    parser.add_argument(
        "--kept", default=KEPT, help="folder of the disk, and of what later runs find again"
    )
    return parser.parse_args()


def names(words: str) -> tuple[str, ...]:
    """Names of cases, as the command line has them."""
    if unknown := set(words.split(",")) - set(NAMES):
        raise argparse.ArgumentTypeError(
            f"no case {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}"
        )
    return tuple(words.split(","))


def measure(inputs: Inputs, wanted: tuple[str, ...]) -> Results:
    """Every case that is wanted; one that cannot be measured here is said to be left out, and why."""
    rows: list[Row] = []
    curves: list[Curve] = []
    left_out: list[str] = []
    whole, others = time.monotonic(), busy() - children()
    for name in wanted:
        begun, used = time.monotonic(), children()
        try:
            if name in CASES:
                rows += CASES[name](inputs)
            else:
                curves.append(GROWTH[name](inputs))
        except LookupError as why:
            left_out.append(f"{name}: {why.args[0]}")
        took = f"{time.monotonic() - begun:.0f} s, {children() - used:.0f} s of CPU"
        print(f"   {name}: {took}", file=sys.stderr, flush=True)
    share = (busy() - children() - others) / (time.monotonic() - whole) / processors()
    quiet = {"busy besides": f"{max(share, 0):.0%} of the processors"}
    return Results(
        {"rounds": str(inputs.sizes.rounds), **machine(), **quiet},
        tuple(rows),
        tuple(curves),
        tuple(left_out),
    )


def children() -> float:
    """Seconds of CPU that everything which was measured or made took so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy() -> float:
    """Seconds that the machine's processors worked so far, for whomever (proc(5))."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, *more = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(more)) / os.sysconf("SC_CLK_TCK")


def processors() -> int:
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, str]:
    """Of what kind this machine is; never its name."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processors": str(processors()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": os.uname().release.partition("-")[0],
        "file system": "ext4 with a journal, on a loop device",
        "Python": sys.version.split()[0],
        **{name: version(name) for name in ("rsync", "cp", "cpio", "gzip")},
    }


def version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\d+(?:\.\d+)+", said)[0]


if __name__ == "__main__":
    if os.geteuid():
        sys.exit(
            "bench makes a disk of its own and runs dracut in a chroot, so it needs root: sudo ./doit bench"
        )
    # the disk is taken away all the same
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    main()
