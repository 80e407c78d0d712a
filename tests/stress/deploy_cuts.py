"""Cut the power of a boot server's disk during a deploy, and see what nodes are served then.

    .venv/bin/python -m tests.stress.deploy_cuts [--count 1000] [--files 1000] [--finish 20]
                                                 [--seed 1] [--careless | --rollback]

Needs root, qemu-utils and e2fsprogs. Cuts are at every flush, then at random flushes with a random
part of what was written after them. After each the boot files name a release and site data that
are whole, the old or the new, or there is a line that says why not; every n-th disk (--finish) is
deployed to again. --careless shows what a deploy without flushes would do to nodes; --rollback
cuts a rollback instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.crash_replay import FLUSH, Cut, available, megabytes, reordered
from tests.support.deploy_crash import careless, end_of, finishes, record, record_rollback
from tests.support.deploy_kit import run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("count", 1000), ("files", 1000), ("finish", 20), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--rollback", action="store_true")
    wanted = parser.parse_args()
    if why := available():
        sys.exit(f".venv/bin/python -m tests.stress.deploy_cuts: {why}")
    with tempfile.TemporaryDirectory(prefix="plugnode-cuts-") as folder:
        return campaign(Path(folder), wanted)


def campaign(folder: Path, wanted: argparse.Namespace) -> int:
    """Every cut; 1 if one left a torn tree behind its boot files, or a disk that a deploy could not finish."""
    how = careless if wanted.careless else run
    deploy = (
        record_rollback(folder, wanted.files)
        if wanted.rollback
        else record(folder, wanted.files, how)
    )
    flushes = [number + 1 for number, write in enumerate(deploy.log) if write.flags & FLUSH]
    what = "rollback" if wanted.rollback else "deploy"
    print(f"a {what} of {wanted.files} files: {len(deploy.log)} writes, {len(flushes)} flushes, "
          f"{megabytes(deploy.log):.1f} MiB")  # fmt: skip
    cuts = [Cut(at, at, ()) for at in flushes] + reordered(deploy.log, wanted.count, wanted.seed)
    ends: Counter[str] = Counter()
    began = time.monotonic()
    for number, cut in enumerate(cuts[: wanted.count]):
        end = end_of(deploy, cut, folder)
        if (
            not end.startswith("torn")
            and number % wanted.finish == 0
            and not finishes(deploy, folder)
        ):
            end = "torn: the same again does not finish"
        ends[end.partition(":")[0]] += 1
        if end.startswith("torn"):
            print(f"{cut}: {end}")
    told = ", ".join(f"{count} {what}" for what, count in sorted(ends.items()))
    print(
        f"{sum(ends.values())} cuts in {time.monotonic() - began:.0f} s; served after them: {told}"
    )
    return 1 if ends["torn"] else 0


if __name__ == "__main__":
    sys.exit(main())
