"""What is made of a node's words: stages, checks, and what is known of a failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.core.lab.timeline import MEASURED, BootTimeline, Check, Expected
from tasks.core.lab.timeline import checks, failure, table, timings
from tasks.core.site.model import Disk

RELEASE = "worker-3f9a1c2b4d5e"
ROOT = f"172.24.10.1:/opt/nfs_export/{RELEASE}"
EXPECTED = Expected(
    "wn001", "172.24.10.100", RELEASE, ROOT, Disk().partitions, sshd=True, powers_off=True
)
WHOLE = f"""\
power bios
dhcp 172.24.10.100
tftp pxelinux.0
tftp error pxelinux.cfg/01-ae-d6-90-bb-aa-1d: File not found
tftp {RELEASE}/vmlinuz
console [    0.000000] Linux version 2.6.18-194.el5 (mockbuild@example)
console plugnode: initrd: start Linux 2.6.18-194.el5
console plugnode: initrd: root {ROOT}
console plugnode: setup: done: wn001, 172.24.10.100, /dev/sda
console plugnode: node: name wn001
console plugnode: node: address 172.24.10.100 eth0
console plugnode: node: release {RELEASE}
console plugnode: node: mount / {ROOT} nfs ro
console plugnode: node: mount /var /dev/sda1 ext3 rw
console plugnode: node: fill /var 11 of 11
console plugnode: node: mount /tmp /dev/sda2 ext3 rw
console plugnode: node: mount /home /dev/sda3 ext3 rw
console plugnode: node: failed none
reached plugnode: node: ready 12.3 s
sshd SSH-2.0-OpenSSH_4.3
off by itself
"""


def story(text: str) -> BootTimeline:
    """Fed with `KIND TEXT` lines, one a second, each after ten kB by TFTP, three by HTTP, one by NFS, two calls."""
    made = BootTimeline()
    for at, line in enumerate(text.splitlines()):
        kind, _, rest = line.removeprefix("tftp error").partition(" ")
        moved = {"tftp": at * 10_000, "http": at * 3000, "nfs": at * 1000, "calls": at * 2}
        made.feed(
            {
                "power": 0,
                "node": 0,
                "at": float(at),
                "kind": kind or "tftp error",
                "text": rest,
                **moved,
            }
        )
    return made


def failed(text: str) -> dict[str, str]:
    return {check.what: check.found for check in checks(story(text), EXPECTED) if not check.holds}


def test_a_whole_boot_passes_every_check():
    assert failed(WHOLE) == {}
    assert len(list(checks(story(WHOLE), EXPECTED))) == 12


def test_each_thing_that_is_not_as_it_should_be_is_found():
    assert failed(WHOLE.replace("name wn001", "name localhost")) == {
        "host name": "localhost, not wn001"
    }
    assert failed(
        WHOLE.replace("address 172.24.10.100 eth0", "address 172.24.10.10 eth0")
    ).keys() == {"address"}
    assert failed(WHOLE.replace("nfs ro", "nfs rw")).keys() == {"root over NFS, read-only"}
    assert failed(WHOLE.replace("/dev/sda1 ext3 rw", "plugnode tmpfs rw")) == {
        "/var on its disk": "plugnode tmpfs rw"
    }
    assert failed(WHOLE.replace("11 of 11", "10 of 11")) == {
        "/var has what /var.ro has": "10 of 11 names"
    }
    assert failed(WHOLE.replace("11 of 11", "0 of 0")).keys() == {"/var has what /var.ro has"}
    assert failed(WHOLE.replace("sshd SSH-2.0-OpenSSH_4.3", "sshd ")) == {"sshd answers": "nothing"}
    assert failed(WHOLE.replace("by itself", "hung")).keys() == {"power button switches it off"}
    assert failed(WHOLE + "console plugnode: node: degraded /dev/sda is not touched\n").keys() == {
        "nothing degraded"
    }


def test_a_node_that_says_nothing_passes_no_check_of_itself():
    assert len(failed("power bios\n")) == 11  # all but "nothing degraded"


def test_units_that_have_failed_are_named_where_there_are_units():
    found = failed(WHOLE.replace("failed none", "failed chrony.service munge.service"))
    assert found == {"no unit failed": "chrony.service munge.service"}
    found = failed(WHOLE.replace("console plugnode: node: failed none\n", ""))
    assert found == {"no unit failed": "the node does not say"}
    sysvinit = replace(EXPECTED, units=False)
    assert "no unit failed" not in {check.what for check in checks(story(WHOLE), sysvinit)}


def test_a_root_that_is_written_above_says_how_much():
    expected = replace(EXPECTED, writable=True)
    told = WHOLE.replace(f"{ROOT} nfs ro", f"{ROOT} overlay rw")
    said = told + "console plugnode: node: above 812 of 1048576 kB\n"
    assert all(check.holds for check in checks(story(said), expected))
    lacking = {check.what for check in checks(story(WHOLE), expected) if not check.holds}
    assert lacking == {"root over NFS, written in memory", "what is written above it"}


def test_where_firmware_verifies_the_kernel_the_node_must_say_that_it_is_locked_down():
    def found(words: str) -> Check:
        expected = replace(EXPECTED, lockdown=True)
        made = checks(story(WHOLE + words), expected)
        return next(check for check in made if check.what == "kernel lockdown (Secure Boot)")

    assert found("console plugnode: node: lockdown integrity\n").holds
    assert found("console plugnode: node: lockdown confidentiality\n").holds
    assert found("console plugnode: node: lockdown none\n")[::2] == (False, "none, not integrity")
    assert found("")[::2] == (False, "nothing, not integrity")


def test_the_table_tells_how_long_and_how_much_each_stage_took_until_the_next():
    rows = table(story(WHOLE)).splitlines()
    assert rows[0].split() == [
        "stage",
        "at",
        "s",
        "took",
        "s",
        "TFTP",
        "kB",
        "HTTP",
        "kB",
        "NFS",
        "kB",
        "NFS",
        "calls",
    ]
    assert [row.split()[0] for row in rows[1:]] == [
        "power", "dhcp", "loader", "kernel", "linux", "start", "root", "setup", "ready", "all",
    ]  # fmt: skip
    assert rows[3].split() == ["loader", "2.0", "2.0", "20", "6", "2", "4"]
    assert rows[-1].split() == ["all", "18.0", "180", "54", "18", "36"]


def test_other_programs_are_told_what_a_boot_took_and_what_held():
    whole = story(WHOLE)
    told = timings(whole, list(checks(whole, EXPECTED)))
    assert told["seconds"] == 18.0
    moved = {name: told[name] for name in told if name.startswith(("tftp", "http", "nfs"))}
    assert moved == {
        "tftp_bytes": 180_000, "http_bytes": 54_000, "nfs_bytes": 18_000, "nfs_calls": 36,
    }  # fmt: skip
    assert told["stages"][2] == {
        "stage": "loader", "at": 2.0, "seconds": 2.0, "tftp": 20_000, "http": 6000, "nfs": 2000,
        "calls": 4,
    }  # fmt: skip
    assert sum(stage["seconds"] for stage in told["stages"]) == told["seconds"]
    assert (
        told["holds"] and {"holds": True, "what": "host name", "found": "wn001"} in told["checks"]
    )
    degraded = story(WHOLE + "console plugnode: node: degraded /dev/sda is not touched\n")
    assert not timings(degraded, list(checks(degraded, EXPECTED)))["holds"]


def test_a_failure_tells_the_stage_the_console_and_what_servers_say_of_the_node(tmp_path: Path):
    (tmp_path / "dhcpd.log").write_text(
        "Listening on br0\nDHCPACK on 172.24.10.100 to ae:d6:90:bb:aa:1d via br0\n"
    )
    (tmp_path / "ganesha-own.log").write_text(
        "CRIT dbus: failed\nexport: No such file or directory\n"
    )
    stopped = (
        WHOLE.partition("console plugnode: initrd: root")[0]
        + "tftp error x/initrd.img: denied\nended it stopped\n"
    )
    text = failure(story(stopped), str(tmp_path), "172.24.10.100", "ae:d6:90:bb:aa:1d")
    assert text.startswith(
        "it came to the stage `start` (6.0 s after power-on), then: it stopped\nconsole:\n"
    )
    assert "TFTP server:\n    x/initrd.img: denied\ndhcpd.log:\n    DHCPACK on" in text
    assert text.endswith("ganesha-own.log:\n    export: No such file or directory")


def test_a_panic_ends_the_console_that_is_told_with_its_reason_before_it(tmp_path: Path):
    panic = "[ 1.9] Kernel panic - not syncing: VFS: Unable to mount root fs"
    boot = "".join(f"console [ 1.{number}] some line\n" for number in range(20))
    trace = "".join(f"console [ 2.{number}] a call\n" for number in range(20))
    told = f"{boot}console [ 1.8] no filesystem could mount root\nconsole {panic}\n{trace}ended {panic}\n"
    text = failure(story(told), str(tmp_path), "172.24.10.100", "ae:d6:90:bb:aa:1d")
    assert text.endswith(f"    [ 1.8] no filesystem could mount root\n    {panic}")


def test_a_kernel_that_found_no_init_in_the_initrd_is_said_to_have_found_none(tmp_path: Path):
    line = "[ 16.2] Run /sbin/init as init process"
    text = failure(story(f"console {line}\nended {line}\n"), str(tmp_path), "", "")
    assert f"then: {line}\nso the kernel ran no /init of the initrd" in text


def test_a_timer_that_the_emulation_has_late_is_said_to_be_this_machines_load(tmp_path: Path):
    line = (
        "[ 0.056] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug"
    )
    text = failure(story(f"console {line}\nended {line}\n"), str(tmp_path), "", "")
    assert f"then: {line}\nso this machine has too much else to do" in text
    assert "no_timer_check" in text


def test_what_a_tpm_has_measured_is_shown_and_a_register_that_nothing_went_into_is_not_right():
    def found(*values: str) -> Check:
        lines = [
            f"console plugnode: initrd: measured PCR {pcr} {value * 32}\n"
            for pcr, value in zip(MEASURED, values)
        ]
        made = checks(story(WHOLE + "".join(lines)), replace(EXPECTED, measured=True))
        return next(check for check in made if check.what == "measured")

    assert found("A1", "B2", "C3", "D4") == (
        True,
        "measured",
        f"PCR 4 {'a1' * 8}, PCR 7 {'b2' * 8}, PCR 9 {'c3' * 8}, PCR 11 {'d4' * 8}",
    )
    assert not found("A1", "B2", "C3", "00").holds
    assert found("A1", "B2", "C3")[::2] == (False, found("A1", "B2", "C3").found)
