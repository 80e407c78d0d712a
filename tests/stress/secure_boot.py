"""Change a byte of what a node with Secure Boot starts: which of it does it start nevertheless?

    .venv/bin/python -m tests.stress.secure_boot [--only CASE] [--dhcp dnsmasq]

Needs root, and what `./doit test` installs. A site is built, signed and served; a virtual machine
with Microsoft's keys, the site's certificate as its owner's (MOK) and a TPM boots it by shim: by PXE
and by UEFI's own HTTP boot, with each kind of root that is a file. Then one thing is changed on the
server, and it must stop, with a line that says what it was.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import PowerState
from tasks.core.lab.timeline import MEASURED
from tasks.core.lab.tpm import serve_tpm
from tasks.core.trust import uki
from tests.stress import storm
from tests.support.commands import REPOSITORY, Doit
from tests.support.signed_site import certify, signed_grid, signed_machine
from tests.support.vm_site import Grid, disk, told

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))
HTTP = "/srv/http/plugnode"
REFUSED = "Security Violation|Verification failed"  # shim, of the file that it names before


class Whole(NamedTuple):
    """A boot with nothing changed, and what the console says of its root."""

    name: str
    root: str  # a kind
    says: str
    by_http: bool = False  # what firmware and shim fetch
    is_twice: bool = False  # and once more, from its disk, with no server that gives the root


class Case(NamedTuple):
    """Something changed on the server, and what the console says then."""

    name: str
    change: Callable[[Grid], None]
    says: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in (*WHOLE, *CASES)]
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--dhcp", choices=["dhcpd", "kea", "dnsmasq"], default="dhcpd")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plugnode-secure-boot-") as name:
        bad, grids = 0, Grids(Path(name))
        for whole in WHOLE:
            if whole.name in wanted.only:
                bad += not boots(grids[whole.root], whole, Path(name) / whole.name, wanted.dhcp)
        for case in CASES:
            if case.name in wanted.only:
                bad += not stops(grids["ram"], case, Path(name) / case.name, wanted.dhcp)
    return 1 if bad else 0


class Grids(dict[str, Grid]):
    """The site with a kind of root, built when it is asked for."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __missing__(self, root: str) -> Grid:
        tree = bootstrapped() if root != "nfs-file" else storm.bootstrapped(CACHE)  # with dmsetup
        return self.setdefault(root, signed_grid(self.folder / f"site-{root}", tree, root))


def bootstrapped() -> Path:
    """The root of the repository's example; its bootstrap is downloaded once and kept."""
    doit = Doit(CACHE / "example")
    if not list(doit.build.glob("references/*/tree")):
        doit.folder.mkdir(parents=True, exist_ok=True)
        doit.site.write_text((REPOSITORY / "site.yaml").read_text())
        doit()
    return max(doit.build.glob("references/*/tree"))


def boots(grid: Grid, whole: Whole, work: Path, dhcp: str) -> bool:
    """Whether it comes up locked down and measured, with nothing changed."""
    work.mkdir()
    image = disk(work, 4096) if whole.root == "disk" else None
    machine = signed_machine(grid, work, disk=image, by_http=whole.by_http)
    good = is_whole(grid, whole, machine, dhcp)
    if good and whole.is_twice:
        files = grid.served / HTTP.lstrip("/")
        files.rename(files.with_name("gone"))
        files.mkdir()
        good = is_whole(grid, whole._replace(name=f"{whole.name}-again", says=KEPT), machine, dhcp)
    return good


def is_whole(grid: Grid, whole: Whole, machine: Machine, dhcp: str) -> bool:
    """The same of one boot, with a TPM of its own."""
    start, work = time.monotonic(), Path(machine.work)
    with serve_tpm(str(work / f"{whole.name}.tpm")) as socket:
        power = PowerState((replace(machine, tpm=socket),))
        (story,) = grid.boot(work, power, dhcp=dhcp, http=HTTP)
    measured = [story.facts.get(f"PCR {pcr}", "0").strip("0") for pcr in MEASURED]
    said = told(story, r"initrd: ((?:root|site data|measured) .*)")
    good = story.facts.get("lockdown") == "integrity" and all(measured) and not story.ended
    good &= any(re.search(whole.says, line) for line in said)
    if whole.by_http:
        log = (work / "nginx.log").read_text()
        fetched = re.findall(r'"GET (\S+\.efi) HTTP/1.1" 200', log)
        said += [f"by HTTP: {path}" for path in dict.fromkeys(fetched)]
        good &= {Path(path).name for path in fetched} == {"shimx64.efi", "grubx64.efi"}
    return tell(whole.name, good, time.monotonic() - start, said or [story.ended])


def stops(grid: Grid, case: Case, work: Path, dhcp: str) -> bool:
    """Whether it stops, and says what a case wants to be told."""
    work.mkdir()
    tree = grid.served
    subprocess.run(["cp", "-a", tree, work / "kept"], check=True)
    case.change(grid)
    start = time.monotonic()
    try:
        power = PowerState((signed_machine(grid, work),), until=case.says, died="node: ready")
        (story,) = grid.boot(work, power, dhcp=dhcp, http=HTTP)
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


KEPT = "on /dev/vda1 from here, its sha256 is right"
WHOLE = (
    Whole("whole", "ram", "root root.erofs: .* from http://.*, its sha256 is right"),
    Whole("http", "ram", "root root.erofs: .* its sha256 is right", by_http=True),
    Whole("nfs-file", "nfs-file", "each block is checked"),
    Whole("disk", "disk", "it is kept in memory", is_twice=True),
)
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
