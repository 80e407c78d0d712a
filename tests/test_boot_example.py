"""The example site, booted as an admin would: `doit boot`, whose word the tests take, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, Doit
from tasks.core.boot import Power
from tasks.core.vm import Machine
from vms import Grid, disk, told

pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(900)]

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))


@pytest.fixture(scope="session")
def example() -> Doit:
    """The repository's own site.yaml; its bootstrap is downloaded once and kept."""
    doit = Doit(CACHE / "example")
    doit.folder.mkdir(parents=True, exist_ok=True)
    doit.site.write_bytes((REPOSITORY / "site.yaml").read_bytes())
    doit()
    return doit


def verdicts(out: str) -> dict[str, str]:
    """What was checked -> "ok" or "FAILED"."""
    return {what: verdict for verdict, what in re.findall(r"^(ok|FAILED) +([^:\n]+)", out, re.M)}


def processes(words: str) -> list[str]:
    """Command lines of this machine's processes that have the words."""
    found = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if words in line]


WHOLE = {
    "host name", "address", "release", "root over NFS, read-only", "/var on its disk", "/var has what /var.ro has",
    "/tmp on its disk", "/home on its disk", "nothing degraded", "sshd answers", "power button switches it off",
}  # fmt: skip


def test_the_example_boots_by_bios_and_pxelinux(example: Doit):
    out = example("boot")
    print(out)
    assert verdicts(out) == dict.fromkeys(WHOLE, "ok")
    assert re.search(r"s  loader +pxelinux\.0$", out, re.M)
    assert re.search(r"^all +[\d.]+ +\d{4,} +\d{4,} +\d{4,}$", out, re.M)  # seconds, kB by TFTP and NFS, calls
    told = json.loads((example.build / "boot/timings.json").read_text())
    assert told["holds"] and {check["what"] for check in told["checks"]} == WHOLE
    assert told["release"] == json.loads((example.build / "worker/release.json").read_text())["id"]
    assert told["nfs_bytes"] > 300 * told["nfs_calls"] > 300_000  # call and answer, with their headers
    assert example() == ""  # what a boot leaves makes nothing out of date


def test_the_example_boots_by_uefi_and_grub(example: Doit):
    out = example("boot", "firmware=uefi", "dhcp=dnsmasq", "node=wn003")
    print(out)
    assert verdicts(out) == dict.fromkeys(WHOLE, "ok")
    assert re.search(r"^ok +host name: wn003$", out, re.M)
    assert re.search(r"s  loader +grubnetx64\.efi$", out, re.M)


def test_the_distributions_own_initrd_boots_it_too_and_the_second_boot_keeps_the_disk(example: Doit, tmp_path: Path):
    (tree,) = example.build.glob("references/*/tree")
    text = re.sub(r"reference:\n( {6}.*\n)+", f"reference: {{path: {tree}}}\n", example.site.read_text())
    text = re.sub(r"initrd:\n( {6}.*\n)+", "initrd: {base: auto}\n", text)
    grid = Grid(tmp_path, text, {})
    mac = "ae:d6:90:bb:aa:1d"
    node = Machine(mac, disk(tmp_path, 16384), str(tmp_path), direct=grid.direct("worker", mac, tmp_path))
    first, again = grid.boot(tmp_path, *[Power((node,), then="button", sshd=True)] * 2)
    for story in first, again:
        assert story.facts["name"] == "wn001"
        assert story.facts["mount /var"] == "/dev/vda1 ext4 rw"
        assert story.sshd and not story.degraded
        assert story.off == "by itself"
    assert {"format", "fill"} <= {reached.stage for reached in first.stages}
    assert {"claim", "format", "fill"}.isdisjoint(reached.stage for reached in again.stages)
    assert told(first, "made ssh host key: (.*)") and not told(again, "made ssh host key: (.*)")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_it(example: Doit, how: signal.Signals):
    logs = str(example.build / "boot/logs")
    with example.start("boot") as run:
        told = next((line for line in run.stdout if " loader " in line), "")
        working = processes(logs)
        run.send_signal(how)
        rest = run.communicate(timeout=20)[0]
    assert told and any("qemu" in line for line in working), rest
    end = time.monotonic() + 5
    while processes(logs) and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes(logs)


def test_a_node_that_nobody_knows_cannot_be_booted(example: Doit):
    assert "node=wn999" in example("boot", "node=wn999", status=3)
