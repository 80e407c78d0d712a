"""Kill the work on a boot server at random and at every step, and see what nodes are served then.

    .venv/bin/python -m tests.stress.kills [--count 200] [--files 200]

Kills `--count` deploys at random instants; then rollback, prune, repair and deploy of
releases of `--files` files, before every rename, link, unlink, mkdir, rmdir and flush that they make, each
with every command that may come next: tests/core/deploy/test_kills.py with larger trees. Fails
where nodes would come upon something that is not whole, or verify finds something wrong after that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tasks.core.store.paths import Targets
from tests.support.commands import REPOSITORY
from tests.support.killed_deploys import kill

AT_EVERY_STEP = REPOSITORY / "tests/core/deploy/test_kills.py"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("count", "files"):
        parser.add_argument(f"--{name}", type=int, default=200)
    wanted = parser.parse_args()
    at_random(wanted.count)
    return at_every_step(wanted.files)


def at_random(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="plugnode-kills-") as folder:
        targets = Targets("/tftpboot", "/opt/nfs_export", f"{folder}/dest")
        ends = Counter(kill(Path(folder), targets, count))
    told = ", ".join(f"{number} {what}" for what, number in sorted(ends.items()))
    print(f"{count} deploys killed; served after them: {told}", flush=True)


def at_every_step(files: int) -> int:
    """What the suite does with few files, by the suite."""
    words = [sys.executable, "-m", "pytest", "-v", "-x", "--timeout", "0", AT_EVERY_STEP]
    environment = {**os.environ, "PLUGNODE_TEST_FILES": str(files)}
    return subprocess.run(words, cwd=REPOSITORY, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
