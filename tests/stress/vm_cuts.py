"""Pull the plug of virtual machines during their first boot: does the next boot recover?

    .venv/bin/python -m tests.stress.vm_cuts [--cuts 100] [--seed 1] [--cache build/test-cache]

Needs root and what `./doit test` installs. The same seed cuts at the same moments of the boot: so
many seconds after a line of the console.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

from tests.support.commands import REPOSITORY
from tests.support.vm_crash import campaign, grid, moments

CACHE = REPOSITORY / "build/test-cache"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=CACHE, help="of the reference")
    wanted = parser.parse_args()
    begun, seen = time.monotonic(), collections.Counter[str]()
    stages_go = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory(prefix="plugnode-vm-cuts-") as name, stages_go:
        site = grid(Path(name) / "site", wanted.cache)
        for outcome in campaign(site, Path(name), moments(wanted.cuts, wanted.seed)):
            seen[f"recovered from {outcome.left}" if not outcome.wrong else "BAD"] += 1
            tell(
                f"{outcome.cut.later:5.2f} s after {outcome.cut.step!r}: {outcome.left} {outcome.wrong}"
            )
    tell(f"{wanted.cuts} cuts, {(time.monotonic() - begun) / wanted.cuts:.0f} s each: {dict(seen)}")
    return 1 if seen["BAD"] else 0


def tell(text: str) -> None:
    print(text, file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    sys.exit(main())
