"""Look for secrets in a staged root by detect-secrets, beside what our own search finds.

    .venv/bin/python -m tests.stress.secrets_second_opinion build/worker/root [--all]

Needs detect-secrets (pip install it). First the samples of tests/support/secret_samples.py, one
file each: which of them we know, and which it knows. Then the root: its finds by kind, and each
beside what the search says of that file; those by entropy and by keywords are counted, and named
with --all. Nobody's content is printed. Some minutes for a root of a gigabyte.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.core.secret_scan.find import broken_rule
from tests.support.secret_samples import DRESSES, FORMS, pem

LOUD = ("Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--program", default="detect-secrets")
    parser.add_argument(
        "--all", action="store_true", help="name finds by entropy and keywords, too"
    )
    wanted = parser.parse_args()
    missed = compare_samples(wanted.program)
    compare_root(wanted.program, wanted.root, wanted.all)
    return 1 if missed else 0


def compare_samples(program: str) -> list[str]:
    """Samples that it knows and we do not."""
    with tempfile.TemporaryDirectory() as place:
        ours = samples(Path(place) / "samples")
        theirs = set(finds(program, Path(place) / "samples"))
    print(f"samples: {len(ours)}; known to us {sum(ours.values())}, to {program} {len(theirs)}")
    missed = sorted(name for name in theirs if not ours[name])
    for name in missed:
        print(f"  missed by us: {name}")
    return missed


def samples(folder: Path) -> dict[str, bool]:
    """One file of each form and dress -> is it known to us?"""
    known = {}
    makers = {f"form {name}": make for name, make in FORMS.items()}
    makers |= {f"dress {name}": partial(dressed, dress) for name, dress in DRESSES.items()}
    folder.mkdir()
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as place:
            data = make(Path(place))
        file = "".join(letter if letter.isalnum() else f"{ord(letter):x}" for letter in name)
        (folder / file).write_bytes(data)
        known[file] = bool(broken_rule(data))
    return known


def dressed(dress: Callable[[bytes], bytes], at: Path) -> bytes:
    return dress(pem(at))


def finds(program: str, folder: Path) -> dict[str, set[str]]:
    """File below a folder -> kinds of what detect-secrets sees in it."""
    argv = [program, "scan", "--all-files", "--no-verify", "."]
    done = subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    results = json.loads(done.stdout)["results"]
    return {
        path.removeprefix("./"): {each["type"] for each in found} for path, found in results.items()
    }


def compare_root(program: str, root: Path, every: bool) -> None:
    found = finds(program, root)
    kinds = Counter(kind for each in found.values() for kind in each)
    print(f"{root}: {program} finds something in {len(found)} files:")
    for kind, count in kinds.most_common():
        print(f"  {count:6} {kind}")
    for path, each in sorted(found.items()):
        said = each if every else each.difference(LOUD)
        if said:
            ours = broken_rule((root / path).read_bytes())
            print(f"  /{path}: {', '.join(sorted(said))}; we: {ours or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
