"""Boot by shim and GRUB: does GRUB fetch kernel and initrd by HTTP where it can, and by TFTP where it cannot?

    .venv/bin/python -m tests.stress.grub_http [http] [tftp] [down] [--loaders DIR] [--dhcp dnsmasq]

Needs root, and what `./doit test` installs. A virtual machine with Microsoft's keys boots the example's root, kept in
memory:
  http   by Debian 13's shim and GRUB, unpacked by mmdebstrap, or from DIR: whose GRUB knows HTTP
  tftp   by this machine's
  down   by Debian 13's, with a web server that gives GRUB nothing
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import PowerState
from tests.stress.secure_boot import HTTP, bootstrapped, tell
from tests.support.signed_site import KEYS, MAC, site_text
from tests.support.vm_site import QUICK_KEYS, Grid, told

DIED = "Kernel panic|Access Denied|FAILED|did not boot"  # and not GRUB's first try
CASES = ("http", "tftp", "down")
NEW = "trixie"
LOADERS = {
    "shimx64.efi": "usr/lib/shim/shimx64.efi.signed",
    "grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
}
FETCHED = re.compile(r'"GET \S+/(vmlinuz|initrd\.img|site\.img) HTTP/1.1" 200 \d+ "-" "GRUB ')


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; else all")
    parser.add_argument("--loaders", type=Path, help="a root of Debian 13, or with the same files")
    parser.add_argument("--dhcp", choices=["dhcpd", "kea", "dnsmasq"], default="dnsmasq")
    wanted = parser.parse_args()
    if strange := set(wanted.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(strange))}")
    with tempfile.TemporaryDirectory(prefix="plugnode-grub-http-") as name:
        folder = Path(name)
        loaders = (wanted.loaders or unpacked(folder / NEW)).resolve()
        grid = grid_of(folder / "site")
        good = [boots(grid, case, folder, loaders, wanted.dhcp) for case in wanted.cases or CASES]
    return 0 if all(good) else 1


def unpacked(folder: Path) -> Path:
    """Debian 13's loaders, of packages that are unpacked and not installed."""
    packages = "--include=shim-signed,grub-efi-amd64-signed"
    subprocess.run(["mmdebstrap", "-q", "--variant=extract", packages, NEW, folder], check=True)
    return folder


def grid_of(folder: Path) -> Grid:
    """The site of signed files without signatures: GRUB starts its kernel and initrd."""
    text = site_text(bootstrapped()).replace("    loader: uki\n", "")
    text = text[: text.index("trust:")]
    return Grid(folder, text, {KEYS.removeprefix("overlays/"): QUICK_KEYS})


def boots(grid: Grid, case: str, folder: Path, loaders: Path, dhcp: str) -> bool:
    """Whether it comes up, and GRUB has fetched by what it should."""
    named = {} if case == "tftp" else {name: str(loaders / path) for name, path in LOADERS.items()}
    text = re.sub("\n    loaders: .*", "", grid.doit.site.read_text())
    text = text.replace("\n    root: ", f"\n    loaders: {json.dumps(named)}\n    root: ")
    grid.doit.site.write_text(text)
    grid.deploy()
    if case == "down":
        refuse_grub(grid)
    work, start = folder / case, time.monotonic()
    work.mkdir()
    machine = Machine(MAC, None, str(work), firmware="secure", memory=1536)
    power = PowerState((machine,), died=DIED)
    (story,) = grid.boot(work, power, dhcp=dhcp, http=HTTP)
    fetched = set(FETCHED.findall((work / "nginx.log").read_text()))
    good = not story.ended and story.facts.get("lockdown") == "integrity"
    good &= bool(fetched) == (case == "http")
    said = [f"by HTTP: {', '.join(sorted(fetched)) or 'nothing'}"]
    return tell(case, good, time.monotonic() - start, [*said, *told(story, "(error: .*)")])


def refuse_grub(grid: Grid) -> None:
    """Have nginx give GRUB nothing."""
    file = grid.doit.build / "configs/nginx.conf"
    refusal = '    if ($http_user_agent ~ "^GRUB") { return 404; }\n    sendfile on;'
    file.write_text(file.read_text().replace("    sendfile on;", refusal))


if __name__ == "__main__":
    sys.exit(main())
