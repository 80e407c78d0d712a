"""The example site, booted as an admin would: `doit boot`, whose word the tests take, and what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest

from tasks.core.lab.qemu import Machine
from tasks.core.lab.run import PowerState
from tasks.core.lab.tpm import serve_tpm
from tests.support import munge_reference, network_managers, node_tpm
from tests.support.commands import LONGEST, REPOSITORY, Doit
from tests.support.signed_site import signed_doit
from tests.support.vm_site import QUICK_KEYS, Grid, disk, told

pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(3000)]

CACHE = Path(os.environ.get("PLUGNODE_TEST_CACHE", REPOSITORY / "build/test-cache"))


@pytest.fixture(scope="session")
def example() -> Doit:
    """The repository's own site.yaml; its bootstrap is downloaded once and kept."""
    doit = Doit(CACHE / "example")
    doit.folder.mkdir(parents=True, exist_ok=True)
    text, baud = (REPOSITORY / "site.yaml").read_text(), "ttyS0,115200"
    assert baud in text
    # docs/boot.md: on a busy machine; and a first boot looks for no disk that another machine has
    text = text.replace(baud, f"{baud} no_timer_check plugnode.wait=6")
    doit.site.write_text(f"{text}\ndeploy: {{syslog: rsyslog}}\n")
    doit()
    return doit


def verdicts(out: str) -> dict[str, str]:
    """What was checked -> "ok" or "FAILED"."""
    return {what: verdict for verdict, what in re.findall(r"^(ok|FAILED) +([^:\n]+)", out, re.M)}


def processes(words: str) -> list[str]:
    """Command lines of this machine's processes that have the words."""
    found = subprocess.run(
        ["ps", "-ewwo", "args"], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in found.splitlines() if words in line]


WHOLE = {
    "host name", "address", "release", "root over NFS, read-only", "/var on its disk", "/var has what /var.ro has",
    "/tmp on its disk", "/home on its disk", "nothing degraded", "no unit failed", "sshd answers", "power button switches it off",
    "boot reported",
}  # fmt: skip


def test_the_example_boots_by_bios_and_pxelinux(example: Doit):
    out = example("boot")
    print(out)
    assert verdicts(out) == dict.fromkeys(WHOLE, "ok")
    assert re.search(r"^ok     boot reported: wn001: worker-\w+ in \d+ s, slowest \w+", out, re.M)
    assert re.search(
        r"; kernel [\d.]+, .*, root [\d.]+, .*, disk [\d.]+, .*, services [\d.]+ s$", out, re.M
    )
    assert re.search(r"s  loader +pxelinux\.0$", out, re.M)
    assert re.search(
        r"^all +[\d.]+ +\d{4,} +0 +\d{4,} +\d{4,}$", out, re.M
    )  # seconds, kB by TFTP, HTTP and NFS, calls
    told = json.loads((example.build / "boot/timings.json").read_text())
    assert told["holds"] and {check["what"] for check in told["checks"]} == WHOLE
    assert told["release"] == json.loads((example.build / "worker/release.json").read_text())["id"]
    assert (
        told["nfs_bytes"] > 300 * told["nfs_calls"] > 300_000
    )  # call and answer, with their headers
    assert told["nfs_calls"] <= 2500  # what all nodes at once ask of a server's processors
    assert example() in (
        "",
        ".  report\n",
    )  # what a boot leaves makes nothing out of date but the page that shows it


@pytest.fixture(scope="session")
def loaders(example: Doit) -> str:
    """Shim and GRUB of the nodes' distribution, unpacked as docs/boot.md does it: this host's may know other keys."""
    (suite,) = re.findall(r"^ +suite: (\w+)$", example.site.read_text(), re.M)
    folder = CACHE / f"loaders-{suite}"
    if not folder.exists():
        new = CACHE / f"loaders-{suite}.new"
        shutil.rmtree(new, ignore_errors=True)
        packages = "--include=shim-signed,grub-efi-amd64-signed"
        subprocess.run(["mmdebstrap", "--variant=extract", packages, suite, new], check=True)
        new.rename(folder)
    shim, grub = "shim/shimx64.efi.signed", "grub/x86_64-efi-signed/grubnetx64.efi.signed"
    return f"{{shimx64.efi: {folder}/usr/lib/{shim}, grubx64.efi: {folder}/usr/lib/{grub}}}"


@pytest.fixture
def two_servers(example: Doit, loaders: str):
    """The same site, with a second boot server, wn001's, from which a router and relay leads to it.

    And with a key that signs what servers hold: the initrd takes no other site data.
    """
    text = example.site.read_text()
    key = example.folder / "site"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    network, boot1, wn001 = "network:\n", "  boot1: {ip: 172.24.10.1} ", "ip: 172.24.10.100}"
    image = "    initrd:\n"
    assert network in text and boot1 in text and wn001 in text and image in text
    more = {network: "networks:\n nodes:\n", boot1: "  boot2: {ip: 172.16.9.2}\n" + boot1}
    more[wn001] = wn001[:-1] + ", server: boot2}"
    more[image] = f"    loaders: {loaders}\n" + image
    for before, after in more.items():
        example.site.write_text(example.site.read_text().replace(before, after))
    with example.site.open("a") as file:
        file.write("trust: {key: site.pub}\n")
    yield example
    example.site.write_text(text)


def talk(node: pexpect.spawn) -> None:
    """At the node's terminal, where every key is the node's."""
    node.timeout = 300  # it is up
    node.sendline("echo $((6*7)) of $(id -un) by $(sed 's/.*nfsroot=//; s/:.*//' /proc/cmdline)")
    node.expect("42 of root by 172.16.9.2\r\n")
    node.sendline("echo signed: $(cat /run/plugnode/signed)")
    node.expect("signed: yes\r\n")
    # one program: between two of a line Ctrl-C may be the end of the shell itself
    node.sendline("sh -c 'echo asleep; exec sleep 1000'")
    node.expect("asleep\r\n")
    node.sendcontrol("c")
    node.expect(r"root@wn001:~# ")
    node.sendline("echo $?")
    node.expect("130\r\n")


def test_a_node_behind_a_relay_boots_by_secure_boot_and_stays_on_at_a_terminal(
    two_servers: Doit,
):
    """OVMF with Microsoft's keys; Debian's shim, GRUB and kernel, on any host, and modules that this kernel takes."""
    words = ["boot", "power=keep", "firmware=secure", "dhcp=dnsmasq"]
    words += [f"site={two_servers.site}", f"build={two_servers.build}"]
    told = io.StringIO()
    with pexpect.spawn(
        sys.executable,
        ["-m", "doit", *words],
        cwd=REPOSITORY,
        timeout=LONGEST,
        encoding="utf-8",
        logfile=told,
    ) as node:
        before = termios.tcgetattr(node.child_fd)
        node.expect("This terminal is its console, and you are root there; Ctrl-] ends it")
        node.expect(r"root@wn001:~# ")
        talk(node)
        node.sendcontrol("]")
        node.expect(pexpect.EOF)
        assert termios.tcgetattr(node.child_fd) == before
    print(told.getvalue())
    assert node.exitstatus == 0
    assert verdicts(told.getvalue().replace("\r", "")) == dict.fromkeys(
        WHOLE - {"power button switches it off"} | {"kernel lockdown (Secure Boot)"}, "ok"
    )
    assert "kernel lockdown (Secure Boot): integrity" in told.getvalue()
    assert re.search(r"s  loader +shimx64\.efi\r$", told.getvalue(), re.M)


def bootstrapped(example: Doit) -> Path:
    (tree,) = example.build.glob("references/*/tree")
    return tree


def test_firmware_with_secure_boot_starts_one_signed_file_and_no_other_root_than_it_names(
    example: Doit, tmp_path: Path
):
    """shim, and behind it kernel, initrd and command line as one file that a key of the site's owner has signed."""
    doit = signed_doit(tmp_path, bootstrapped(example))
    out = doit("boot", "firmware=secure", "dhcp=dnsmasq")
    print(out)
    disks = {"/var on its disk", "/var has what /var.ro has"}
    root = {"root in memory, written in memory", "what is written above it"}
    assert verdicts(out) == dict.fromkeys(
        {"host name", "address", "release", "nothing degraded", "no unit failed", "sshd answers"}
        | {"power button switches it off", "kernel lockdown (Secure Boot)", "measured"}
        | disks | root,
        "ok",
    )  # fmt: skip
    assert "kernel lockdown (Secure Boot): integrity" in out
    assert re.search(r"measured: PCR 4 \w{16}, PCR 7 \w{16}, PCR 9 \w{16}, PCR 11 \w{16}", out)
    assert re.search(r"s  loader +plugnode/worker/shimx64\.efi$", out, re.M)
    console = (doit.build / "boot/logs/console0.log").read_text()
    assert "root=ram:http://next-server/" in console and "site data site-" in console
    assert "takes no plugnode.debug" in doit("boot", "firmware=secure", "power=keep", status=1)


def with_its_own_initrd(example: Doit, tree: Path, more: str = "") -> str:
    """The example's site, with a reference that is there, and the initrd that this has; `more` lines of the image."""
    text = re.sub(
        r"reference:\n( {6}.*\n)+", f"reference: {{path: {tree}}}\n{more}", example.site.read_text()
    )
    return re.sub(r"initrd:\n( {6}.*\n)+", "initrd: {base: auto}\n", text)


def wn001(grid: Grid, folder: Path) -> Machine:
    mac = "ae:d6:90:bb:aa:1d"
    return Machine(mac, disk(folder, 16384), str(folder), direct=grid.direct("worker", mac, folder))


def test_the_distributions_own_initrd_boots_it_too_and_the_second_boot_keeps_the_disk(
    example: Doit, tmp_path: Path
):
    text = with_its_own_initrd(example, bootstrapped(example), "    overlays: [keys]\n")
    grid = Grid(tmp_path, text, {"keys/usr/sbin/ssh-keygen": QUICK_KEYS})
    node = wn001(grid, tmp_path)
    first, again = grid.boot(tmp_path, *[PowerState((node,), then="button", sshd=True)] * 2)
    for story in first, again:
        assert story.facts["name"] == "wn001"
        assert story.facts["mount /var"] == "/dev/vda1 ext4 rw"
        assert story.sshd and not story.degraded
        assert story.off == "by itself"
    assert {"format", "fill"} <= {reached.stage for reached in first.stages}
    assert {"claim", "format", "fill"}.isdisjoint(reached.stage for reached in again.stages)
    assert told(first, "made ssh host key: (.*)") and not told(again, "made ssh host key: (.*)")


PROBE = """\
#!/bin/sh
say() { while read -r line; do echo "probe: $1 $line" >/dev/console; done; }
while [ "$(cut -d. -f1 /proc/uptime)" -lt 60 ]; do sleep 1; done
ip -4 -o addr show dev eth0 | say address
networkctl --no-legend list eth0 | say networkd
nmcli -g GENERAL.STATE device show eth0 | say manager
systemctl is-active NetworkManager systemd-networkd networking | say active
pgrep -a dhclient | say client
systemctl is-active chrony rsyslog autofs postfix | say services
echo own >/etc/motd && cat /etc/motd | say motd
echo done | say all
"""
LAST = "[Service]\nExecStartPost=/etc/probe.sh\n"


def test_a_crowded_node_writes_above_its_root_and_keeps_its_address_for_good(
    example: Doit, tmp_path: Path
):
    """By dracut's image and its dhclient, with leases of 20 s; on a root with NetworkManager, networkd and ifupdown, with
    chrony, rsyslog, autofs, postfix and NFS's services, whose overlay's module is the root's."""
    tree = network_managers.reference(CACHE, bootstrapped(example))
    more = f"    kernel: {network_managers.kernel(tree)}\n    overlays: [probe]\n"
    more += "    root: nfs-overlay\n    overlay_size: 64M\n"
    told_last = "probe/etc/systemd/system/plugnode-tell.service.d/probe.conf"
    overlay = {
        "probe/etc/probe.sh": PROBE,
        told_last: LAST,
        "probe/usr/sbin/ssh-keygen": QUICK_KEYS,
    }
    grid = Grid(tmp_path, with_its_own_initrd(example, tree, more), overlay)
    shorten_leases(grid, 20)
    power = PowerState((wn001(grid, tmp_path),), until="probe: all", then="button", sshd=True)
    (story,) = grid.boot(tmp_path, power)
    assert not story.ended
    (address,) = told(story, "probe: address (.*)")
    assert " 172.24.10.100/24 " in address and "valid_lft forever" in address
    assert told(story, "probe: active (.*)") == ["active"] * 3
    assert told(story, "probe: networkd .* (.*)") == ["unmanaged"]
    assert told(story, "probe: manager (.*)") == ["10 (unmanaged)"]
    assert not told(story, "probe: client (.*)")
    assert told(story, "probe: services (.*)") == ["active"] * 4
    assert story.facts["failed"] == "none" and not story.degraded
    release = story.facts["release"]
    assert story.facts["mount /"] == f"172.24.10.1:/opt/nfs_export/{release} overlay rw"
    assert re.fullmatch(r"\d+ of 65536 kB", story.facts["above"])
    assert told(story, "probe: motd (.*)") == ["own"]
    shared = grid.served / f"opt/nfs_export/{release}/etc/motd"
    assert not shared.exists() or shared.read_text() != "own\n"
    assert story.sshd and story.off == "by itself"
    dhcp = next(reached for reached in story.stages if reached.stage == "dhcp")
    assert story.stages[-1].at - dhcp.at > 2 * 20


MUNGE = """\
#!/bin/sh
say() { echo "probe: $*" >/dev/console; }
got() { [ -s /run/plugnode/secrets/held/etc/munge/munge.key ]; }
say "key $(cat /run/plugnode/age.pub)"
got || while ! got; do sleep 5; sh /etc/setup.sh take_secrets; ! got || systemctl restart munge; done
say "munge $(systemctl is-active munge) $(stat -c '%U %a %s' /etc/munge/munge.key)"
say "host key $(ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | grep -v '^#' | cut -d ' ' -f 2-)"
say "credential $(munge -s "of $(uname -n)")"
say all
"""
NODES = """\
nodes:
  wn001: {mac: "ae:d6:90:bb:aa:1d", ip: 172.24.10.100}
  wn002: {mac: "ae:d6:90:bb:aa:1e", ip: 172.24.10.101, disk: {required: false}}
secrets_store: store
ssh_host_keys: kept
secrets: {munge: {to: /etc/munge/munge.key, from: {file: munge.key}, owner: munge}}
"""


def test_munge_runs_with_a_key_that_disk_or_tpm_alone_opens(example: Doit, tmp_path: Path):
    """wn001 makes its key at its first boot, on its disk, and is enrolled then; wn002 has none but that in its TPM."""
    tree = munge_reference.reference(CACHE, bootstrapped(example))
    more = "    overlays: [probe]\n"
    text = re.sub(
        r"reference:\n( {6}.*\n)+", f"reference: {{path: {tree}}}\n{more}", example.site.read_text()
    )
    (tmp_path / "munge.key").write_bytes(os.urandom(128))
    overlay = {
        "probe/etc/probe.sh": MUNGE,
        "probe/etc/systemd/system/plugnode-tell.service.d/probe.conf": LAST,
        "probe/usr/sbin/ssh-keygen": QUICK_KEYS,
    }
    grid = Grid(tmp_path, text[: text.index("nodes:\n")] + NODES, overlay)
    recipients = {"wn002": node_tpm.provision(tmp_path / "tpm")}
    enroll(grid, recipients)

    def hear(line: str) -> None:
        if found := re.search(r"probe: key (age1\S+)", line):
            if found[1] not in recipients.values():
                enroll(grid, recipients | {"wn001": found[1]})

    with serve_tpm(str(tmp_path / "tpm")) as socket:
        nodes = wn001(grid, tmp_path), wn002(grid, tmp_path, socket)
        power = PowerState(nodes, until="probe: all", seconds=1400)
        stories = grid.boot(tmp_path, power, hear=hear)
    assert not [story.ended for story in stories if story.ended]
    assert told(stories[0], "secrets: (made) this node's key") and not told(
        stories[1], "secrets: (made) this node's key"
    )
    assert told(stories[1], "secrets: got.* (/etc/munge/munge.key)"), "before services start"
    for number, story in enumerate(stories, 1):
        assert told(story, "probe: munge (.*)") == ["active munge 400 128"]
        kept = (tmp_path / f"store/ssh/wn00{number}.pub").read_text()
        if number == 2:
            assert told(story, "probe: host key (.*)") == [" ".join(kept.split()[:2])]
        (credential,) = told(story, "probe: credential (.*)")
        assert opened(tmp_path, credential) == f"of wn00{number}"


def wn002(grid: Grid, folder: Path, tpm: str) -> Machine:
    """It has a TPM in place of a disk."""
    mac = "ae:d6:90:bb:aa:1e"
    started = grid.direct("worker", mac, folder)
    first = wn001(grid, folder)
    return replace(first, mac=mac, number=1, disk=None, direct=started, tpm=tpm)


def enroll(grid: Grid, recipients: dict[str, str]) -> None:
    """As `doit enroll` leaves it, and what deploy makes of it."""
    lines = [f"{node} {key}\n" for node, key in sorted(recipients.items())]
    (grid.folder / "store/recipients").write_text("".join(lines))
    grid.deploy()


def opened(folder: Path, credential: str) -> str:
    """What a munged of this machine makes of a credential, with the key that was deployed."""
    key = folder / "munge.key"
    key.chmod(0o400)
    names = {
        name: folder / f"munged.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")
    }
    words = [f"--{name}={path}" for name, path in names.items()]
    argv = ["munged", "--force", "--foreground", f"--key-file={key}", *words]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as munged:
        while not names["socket"].exists():
            assert munged.poll() is None
            time.sleep(0.1)
        argv = [
            "unmunge",
            "--no-output",
            f"--socket={names['socket']}",
            "--metadata=/dev/null",
            "--output=-",
        ]
        done = subprocess.run(argv[:1] + argv[2:], input=credential, capture_output=True, text=True)
        munged.terminate()
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shorten_leases(grid: Grid, seconds: int) -> None:
    """The site's own are for ever."""
    path = grid.doit.build / "configs/dhcpd.conf"
    text = path.read_text()
    assert "default-lease-time -1;" in text and "max-lease-time -1;" in text
    path.write_text(text.replace("-lease-time -1;", f"-lease-time {seconds};"))


def test_a_boot_that_fails_ends_with_the_stage_the_reason_and_what_the_servers_say(example: Doit):
    text = example.site.read_text()
    example.site.write_text(
        text.replace("ip: 172.24.10.100}", "ip: 172.24.10.100, cmdline: rdinit=/nowhere}")
    )
    try:
        out = example("boot", status=1)
    finally:
        example.site.write_text(text)
    print(out)
    assert re.search(
        r"wn001 does not boot: it came to the stage `linux` \(.*\), "
        r"then: .*Run /sbin/init as init process\nso the kernel ran no /init of the initrd",
        out,
    )
    assert re.search(r"^console:\n(    .*\n)*    .*Freeing unused kernel", out, re.M)
    assert re.search(
        r"^dhcpd\.log:\n(    .*\n)*    DHCPACK on 172\.24\.10\.100 to ae:d6:90:bb:aa:1d", out, re.M
    )
    assert not (example.build / "boot/timings.json").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_it(example: Doit, how: signal.Signals):
    logs = str(example.build / "boot/logs")
    with example.start("boot", "power=keep") as run:
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
    assert "node=wn0001: no such node; did you mean wn001?" in example(
        "boot", "node=wn0001", status=3
    )
