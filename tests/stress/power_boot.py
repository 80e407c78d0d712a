"""A power cycle that ends in a PXE boot to the new release: `doit power`, ipmi_sim, and the node of `doit boot`.

    .venv/bin/python -m tests.stress.power_boot [--cache build/test-cache]

Needs root and what `./doit test` installs. The BMC is OpenIPMI's ipmi_sim; to switch on is for it to start `doit boot`,
which builds what is new and boots it from real servers. Minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.support import bmcs, el5_root
from tests.support.bmcs import IpmiSim, stopped
from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, doit, lan, run
from tests.support.vm_site import QUICK_KEYS

SITE = """\
site: power-boot
networks: {{nodes: {{subnet: 172.24.10.0/24}}, bmc: {{subnet: 10.99.1.0/24}}}}
servers: {{boot1: {{ip: 172.24.10.1}}}}
images:
  worker:
    reference: {{path: {tree}}}
    kernel: {kernel}
    overlays: [quick]
    initrd: {{base: none, modules: [virtio_net]}}
    cmdline: "console=ttyS0,115200 loglevel=4 no_timer_check plugnode.wait=6 {more}"
    disk: {{devices: [/dev/vda], partitions: [
      {{mount: /var, size: 300M, fs: ext3, fill: /var.ro}}, {{mount: /home, size: rest, fs: ext3}}]}}
management: {{protocol: ipmi, cipher: 3, user: admin, password: {{file: {folder}/password}}}}
nodes:
  wn001: {{mac: "52:54:00:aa:00:10", ip: 172.24.10.10, interfaces: {{bmc: {{ip: 10.99.1.1}}}}}}
"""
# What the BMC switches: the process group of `doit boot`, which is on as long as it is there
CHASSIS = """\
#!/bin/sh
cd {folder} && shift
is_on() {{ [ -s pid ] && kill -s 0 -- "-$(cat pid)" 2>/dev/null; }}
case "$1 $2 $3" in
    "get power "*) if is_on; then echo power:1; else echo power:0; fi ;;
    "get boot "*) echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
    "set boot "*) echo "$3" >boot ;;
    "set power 1") is_on || {{ setsid ./on >>console 2>&1 & echo $! >pid; }} ;;
    "set power 0") is_on && kill -s TERM -- "-$(cat pid)" ;;
esac
exit 0
"""
READY = 900  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=REPOSITORY / "build/test-cache")
    tree = el5_root.reference(parser.parse_args().cache)
    with tempfile.TemporaryDirectory(prefix="power-boot") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        with lan(folder / "lan") as net:
            campaign(net, folder, tree)


def campaign(net: Lan, folder: Path, tree: Path) -> None:
    quick = folder / "overlays/quick/usr/sbin/ssh-keygen"
    quick.parent.mkdir(parents=True)
    quick.write_text(QUICK_KEYS)
    quick.chmod(0o755)
    (folder / "password").write_text(bmcs.PASSWORD)
    (folder / "password").chmod(0o600)
    run(*net.inside("ip", "addr", "add", "10.99.1.254/24", "dev", "lo"))

    words = [
        sys.executable,
        "-m",
        "doit",
        "boot",
        "--raw",
        "node=wn001",
        "power=keep",
        f"site={folder}/site.yaml",
    ]
    boot = shlex.join(["env", "-C", str(REPOSITORY), *words, f"build={folder}/build"])
    chassis = folder / "chassis"
    chassis.write_text(CHASSIS.format(folder=folder))
    chassis.chmod(0o755)
    (folder / "on").write_text(f"#!/bin/sh\ntail -f /dev/null | {boot}\n")  # a keyboard
    (folder / "on").chmod(0o755)
    with stopped(IpmiSim(net, folder / "bmc", "10.99.1.1", f'chassis_control "{chassis} 0x20"')):
        try:
            release = boots(net, folder, tree, "on", "")
            newer = boots(net, folder, tree, "cycle", "quiet")
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.killpg(int((folder / "pid").read_text()), signal.SIGTERM)
    assert newer != release
    print(f"on: {release}; after the cycle: {newer}")


def boots(net: Lan, folder: Path, tree: Path, word: str, more: str) -> str:
    """Switch the node by its BMC; the release that its console says, once it is ready."""
    kernel = next(name for name in os.listdir(tree / "lib/modules") if "cloud" in name)
    texts = {"tree": tree, "kernel": kernel, "folder": folder, "more": more}
    (folder / "site.yaml").write_text(SITE.format(**texts))
    (folder / "console").write_text("")
    power(net, folder, "pxe")
    power(net, folder, word)
    begun = time.monotonic()
    while "plugnode: node: ready" not in (said := (folder / "console").read_text(errors="replace")):
        assert time.monotonic() - begun < READY and "ERROR" not in said, said[-3000:]
        time.sleep(1)
    built = json.loads((folder / "build/worker/release.json").read_text())["id"]
    loaded = set(re.findall(r"worker-[0-9a-f]{12}", said))
    assert built in loaded, (built, loaded)
    print(f"power {word}: {built} is ready after {time.monotonic() - begun:.0f} s", flush=True)
    return built


def power(net: Lan, folder: Path, word: str) -> None:
    done = doit(net, folder / "site.yaml", "power", word, "node=wn001")
    out = done.communicate(timeout=300)[0]
    print(out, end="", flush=True)
    assert done.returncode == 0, out


if __name__ == "__main__":
    main()
