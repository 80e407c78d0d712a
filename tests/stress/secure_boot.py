"""Change a byte of what a node with Secure Boot starts: which of it does it start nevertheless?

    .venv/bin/python -m tests.stress.secure_boot [--only CASE] [--dhcp dnsmasq]

Needs root, and what `./doit test` installs. A site is built, signed and served; a virtual machine
with Microsoft's keys, the site's certificate as its owner's (MOK) and a TPM boots it by shim. Then
one thing is changed on the server, and it must stop, with a line that says what it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tasks.core.lab.run import PowerState
from tasks.core.lab.timeline import MEASURED
from tasks.core.lab.tpm import serve_tpm
from tasks.core.trust import uki
from tests.support.commands import REPOSITORY, Doit
from tests.support.signed_site import certify, signed_grid, signed_machine
from tests.support.vm_site import Grid, told

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))
NEVER = "(?!)"
REFUSED = "Security Violation|Verification failed"  # shim, of the file that it names before


class Case(NamedTuple):
    """Something changed on the server, and what the console says then."""

    name: str
    change: Callable[[Grid], None]
    says: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["whole", *(case.name for case in CASES)], default="")
    parser.add_argument("--dhcp", choices=["dhcpd", "kea", "dnsmasq"], default="dhcpd")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plugnode-secure-boot-") as name:
        grid = signed_grid(Path(name) / "site", bootstrapped())
        bad = 0
        if wanted.only in ("", "whole"):
            bad += not boots(grid, Path(name) / "whole", wanted.dhcp)
        for case in CASES:
            if wanted.only in ("", case.name):
                bad += not stops(grid, case, Path(name) / case.name, wanted.dhcp)
    return 1 if bad else 0


def bootstrapped() -> Path:
    """The root of the repository's example; its bootstrap is downloaded once and kept."""
    doit = Doit(CACHE / "example")
    if not list(doit.build.glob("references/*/tree")):
        doit.folder.mkdir(parents=True, exist_ok=True)
        doit.site.write_text((REPOSITORY / "site.yaml").read_text())
        doit()
    return max(doit.build.glob("references/*/tree"))


def boots(grid: Grid, work: Path, dhcp: str) -> bool:
    """Whether it comes up locked down and measured, with nothing changed."""
    work.mkdir()
    start = time.monotonic()
    with serve_tpm(str(work / "tpm")) as socket:
        power = PowerState((signed_machine(grid, work, socket),))
        (story,) = grid.boot(work, power, dhcp=dhcp, http="/srv/http/plugnode")
    measured = [story.facts.get(f"PCR {pcr}", "0").strip("0") for pcr in MEASURED]
    good = story.facts.get("lockdown") == "integrity" and all(measured) and not story.ended
    said = told(story, r"initrd: (measured .*)")
    return tell("whole", good, time.monotonic() - start, said or [story.ended])


def stops(grid: Grid, case: Case, work: Path, dhcp: str) -> bool:
    """Whether it stops, and says what a case wants to be told."""
    work.mkdir()
    tree = grid.served
    subprocess.run(["cp", "-a", tree, work / "kept"], check=True)
    case.change(grid)
    start = time.monotonic()
    try:
        power = PowerState((signed_machine(grid, work),), until=case.says, died="node: ready")
        (story,) = grid.boot(work, power, dhcp=dhcp, http="/srv/http/plugnode")
    finally:
        subprocess.run(["rm", "-r", tree], check=True)
        (work / "kept").rename(tree)
    said = told(story, f"(.*(?:{case.says}).*)")
    return tell(case.name, not story.ended, time.monotonic() - start, said or [story.ended])


def tell(name: str, good: bool, seconds: float, said: list[str]) -> bool:
    print(f"{'ok    ' if good else 'FAILED'} {name} ({seconds:.0f} s):", *said, sep="\n    ")
    sys.stdout.flush()
    return good


# --- what is changed


def program(grid: Grid) -> Path:
    return grid.served / "tftpboot/plugnode/worker/grubx64.efi"


def without_signature(grid: Grid) -> None:
    program(grid).write_bytes(uki.without_signature(program(grid).read_bytes()))


def by_a_stranger(grid: Grid) -> None:
    certify(grid.folder, "stranger")
    without_signature(grid)
    keys = ["--key", grid.folder / "stranger.key", "--cert", grid.folder / "stranger.crt"]
    argv = ["sbsign", *keys, "--output", program(grid), program(grid)]
    subprocess.run(argv, check=True, capture_output=True)


def in_section(name: str) -> Callable[[Grid], None]:
    """A byte in the middle of a part of the signed file."""

    def change(grid: Grid) -> None:
        data = program(grid).read_bytes()
        part = uki.section_of(data, name)
        flip(program(grid), data.index(part) + len(part) // 2)

    return change


def root_file(grid: Grid) -> None:
    (file,) = grid.served.glob("srv/http/plugnode/worker-*/root.erofs")
    flip(file, file.stat().st_size // 2)


def site_data(grid: Grid) -> None:
    (file,) = grid.served.glob("tftpboot/site-*/site.img")
    flip(file, file.stat().st_size // 2)


def flip(file: Path, at: int) -> None:
    """Change one bit of a byte, and nothing else."""
    with file.open("r+b") as held:
        held.seek(at)
        byte = held.read(1)[0] ^ 1
        held.seek(at)
        held.write(bytes([byte]))


CASES = (
    Case("unsigned", without_signature, REFUSED),
    Case("stranger", by_a_stranger, REFUSED),
    Case("kernel", in_section(uki.LINUX), REFUSED),
    Case("initrd", in_section(uki.INITRD), REFUSED),
    Case("command-line", in_section(uki.CMDLINE), REFUSED),
    Case("root", root_file, "root http://.*: not the file of this release"),
    Case("site-data", site_data, "site data: site-.*: no key of this release has signed it"),
)

if __name__ == "__main__":
    sys.exit(main())
