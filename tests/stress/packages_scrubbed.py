"""What the table of scrubbing would take of the files of all Debian packages: of 60,000, by Contents.

    .venv/bin/python -m tests.stress.packages_scrubbed

Asks this machine's own apt for the Contents of its suites, into a folder of its own. What goes is
told by row, the row's reason first; it fails where a folder goes that a package has files in, or
what no row names with a class of secrets or of state. A minute or two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tasks.core.rootfs.scrub_rules import ScrubRule, rule_for

TARGET = {
    "MetaKey": "$(COMPONENT)/Contents-$(ARCHITECTURE)",
    "ShortDescription": "Contents-$(ARCHITECTURE)",
    "Description": "Contents of $(RELEASE)/$(COMPONENT) $(ARCHITECTURE)",
}
GOES = ("delete", "files")

Taken = dict[ScrubRule, list[str]]  # "path (packages)"


def main() -> int:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken, folders, names = taken_of(contents(Path(folder)))
    for rule, paths in sorted(taken.items(), key=lambda each: -len(each[1])):
        print(f"{len(paths):6}  {rule.reason}  ({rule.action} {rule.pattern})")
        print("".join(f"        {path}\n" for path in paths[:3]), end="")
    for path in folders:
        print(f"WRONG: a package's folder goes: {path}")
    print(f"{names} names of packages: {sum(map(len, taken.values()))} go, {len(folders)} folders")
    return 1 if folders else 0


def contents(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Path and packages, of each file of the suites that this machine's apt has."""
    (folder / "partial").mkdir()
    options = [f"-oDir::State::lists={folder}", "-oAPT::Sandbox::User=root"]
    for key, value in TARGET.items():
        options.append(f"-oAcquire::IndexTargets::deb::Contents-deb::{key}={value}")
    subprocess.run(["apt-get", "update", "-qq", *options], check=True)
    for file in sorted(folder.glob("*_Contents-*")):
        argv = ["/usr/lib/apt/apt-helper", "cat-file", file]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
            for line in program.stdout or ():
                path, _, packages = line.rstrip(b"\n").rpartition(b" ")
                yield path.strip(), packages


def taken_of(files: Iterator[tuple[bytes, bytes]]) -> tuple[Taken, list[str], int]:
    """What goes by each row; the folders that do; how many names there are."""
    taken: Taken = defaultdict(list)
    above: dict[bytes, bytes] = {}
    names = 0
    for path, packages in files:
        names += 1
        rule = rule_for(path, False)
        if rule and rule.action in GOES:
            taken[rule].append(f"{os.fsdecode(path)} ({os.fsdecode(packages)})")
        while (path := os.path.dirname(path)) and path not in above:
            above[path] = packages
    folders = []
    for path, packages in above.items():
        rule = rule_for(path, True)
        if rule and rule.action == "delete":
            folders.append(f"{os.fsdecode(path)} ({os.fsdecode(packages)}): {rule.pattern}")
    return taken, sorted(folders), names


if __name__ == "__main__":
    sys.exit(main())
