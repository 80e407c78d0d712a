"""Bootstrap Debian as root and as an ordinary user with subordinate ids, and compare the two, name by name.

    .venv/bin/python -m tests.stress.bootstrap_by_nobody [--packages iputils-ping,libpam-modules] [--suite bookworm]

As root. Both must be the same tree, with the same owners, rights, devices and attributes. Two bootstraps: some minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tasks.core.reference import pull
from tasks.core.reference.claims import claimed
from tasks.core.reference.snapshot import claims_of
from tasks.core.scan.reader import scan
from tasks.core.site.model import Image, Reference
from tasks.core.tree.manifest import manifest_of
from tests.support.commands import REPOSITORY, as_nobody

IDS = "nobody:500000:65536\n"  # of the second run alone, in a mount namespace of its own
WITH_IDS = 'for file in subuid subgid; do mount --bind "$0" /etc/$file; done; exec "$@"'


def take(folder: str, suite: str, packages: str) -> None:
    """Bootstrap into a folder, and write down what its tree is."""
    image = Image(
        "worker", Reference("bootstrap", suite=suite, packages=tuple(packages.split(",")))
    )
    pull.pull_reference(image, folder, lambda text: print(text, file=sys.stderr))
    found = manifest_of(claimed(scan(f"{folder}/tree").tree, claims_of(folder)))
    Path(folder, "listed").write_bytes(found.mtree + found.xattrs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--packages", default="iputils-ping,libpam-modules")
    parser.add_argument("--take", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.take:
        take(wanted.take, wanted.suite, wanted.packages)
        return 0
    with tempfile.TemporaryDirectory(prefix="plugnode-bootstrap-") as folder:
        os.chmod(folder, 0o777)
        ids = Path(folder, "ids")
        ids.write_text(IDS)
        module = [sys.executable, "-m", "tests.stress.bootstrap_by_nobody"]
        words = [*module, "--suite", wanted.suite, "--packages", wanted.packages, "--take"]
        subprocess.run([*words, f"{folder}/root"], cwd=REPOSITORY, check=True)
        alone = ["unshare", "--mount", "sh", "-ec", WITH_IDS, str(ids)]
        second = [*alone, *as_nobody(*words, f"{folder}/nobody")]
        subprocess.run(second, cwd=REPOSITORY, check=True, env={**os.environ, "HOME": "/"})
        lists = [Path(folder, name, "listed").read_bytes() for name in ("root", "nobody")]
    apart = set(lists[0].splitlines()) ^ set(lists[1].splitlines())
    for line in sorted(apart):
        print(line.decode(errors="backslashreplace"))
    print(f"{len(lists[0].splitlines())} lines, {len(apart)} apart")
    return int(lists[0] != lists[1])


if __name__ == "__main__":
    sys.exit(main())
