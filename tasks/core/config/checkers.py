"""Validators: each generated file, shown to the program that will read it, in surroundings of its own.

None of them touches a running server. What they do not see (dhcpd takes a MAC twice, GRUB's takes any command) is
for the site's own checks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import NamedTuple

OK, SKIPPED, FAILED = "ok", "skipped", "failed"


class CheckResult(NamedTuple):
    """What became of one file. `text` says why it was skipped, or what its program has against it."""

    file: str
    verdict: str  # OK | SKIPPED | FAILED
    text: str = ""


class FileChecker(NamedTuple):
    file: str  # below the folder of configs; `*` at its end: all that begin so, as one
    program: str
    packages: str
    complaint: Callable[[str, str], str]  # (file, a scratch folder) -> what is wrong, "" if nothing


def validate(folder: str) -> list[CheckResult]:
    """Every file of `folder` (build/configs) that some program can check, in a fixed order."""
    return [_checked(folder, checker) for checker in CHECKERS if _files(folder, checker.file)]


def _checked(folder: str, checker: FileChecker) -> CheckResult:
    if not find_program(checker.program):
        return CheckResult(
            checker.file, SKIPPED, f"{checker.program} is not installed ({checker.packages})"
        )
    if checker.program == "exportfs" and os.geteuid() != 0:
        return CheckResult(checker.file, SKIPPED, "exportfs can only be asked by root")
    with tempfile.TemporaryDirectory(prefix="plugnode-check-") as scratch:
        complaint = checker.complaint(os.path.join(folder, checker.file), scratch)
    if "ermission denied" in complaint:
        return CheckResult(
            checker.file, SKIPPED, f"{checker.program} may not read {folder} (AppArmor?)"
        )
    return CheckResult(checker.file, FAILED if complaint else OK, _first(complaint.splitlines()))


def _first(lines: list[str], most: int = 12) -> str:
    """A mistake in a loop is said ten thousand times."""
    return "\n".join(lines[:most] + [f"and {len(lines) - most} lines more"] * (len(lines) > most))


def _files(folder: str, name: str) -> list[str]:
    import glob

    return sorted(glob.glob(os.path.join(glob.escape(folder), name)))


def find_program(name: str) -> str | None:
    """Servers live in sbin, which is not in every PATH."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def _run(*argv: str, **environ: str) -> tuple[int, str]:
    """Exit status, and everything it said."""
    program = find_program(argv[0]) or argv[0]
    done = subprocess.run(
        [program, *argv[1:]], env={**os.environ, "LC_ALL": "C", **environ}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def _complaint(status: int, said: str, told: str) -> str:
    """`told` is the part of what was `said` that an admin needs; a failure always has a text."""
    return "" if status == 0 else told.strip() or said.strip() or f"exit status {status}"


def dhcpd(file: str, scratch: str) -> str:
    """Not with -q, which silences the errors, too."""
    leases = os.path.join(scratch, "dhcpd.leases")
    _put(leases, "")
    status, said = _run(
        "dhcpd", "-t", "-4", "-cf", file, "-lf", leases, "-pf", os.path.join(scratch, "dhcpd.pid")
    )
    words = said.partition("Configuration file errors")[0].partition("\nFor info, ")[2]
    return _complaint(status, said, words.partition("\n")[2])


def kea(file: str, scratch: str) -> str:
    status, said = _run("kea-dhcp4", "-t", file, KEA_LOCKFILE_DIR="none", KEA_PIDFILE_DIR=scratch)
    wrong = [line for line in said.splitlines() if " INFO " not in line and line.strip()]
    return _complaint(status, said, "\n".join(wrong[-3:]))


def dnsmasq(file: str, scratch: str) -> str:
    status, said = _run("dnsmasq", "--test", "-C", file)
    return _complaint(status, said, said)


# A mount namespace where /etc/exports is ours and the tables of what is exported are empty, and a network namespace
# whose NFS server has never run. The exported folder need not exist here: a scratch one stands in.
EXPORTFS = """
mount --make-rprivate / && mount --bind "$1/nfs" /var/lib/nfs || exit
mount --bind "$1/exports" /etc/exports || exit
[ ! -d /etc/exports.d ] || mount --bind "$1/exports.d" /etc/exports.d || exit
exec exportfs -ar
"""


def exportfs(file: str, scratch: str) -> str:
    """Anything that it says is a failure: the fatal blank of `host (rw)` is a warning to it."""
    for name in ("nfs", "exports.d", "root"):
        os.mkdir(os.path.join(scratch, name))
    for table in ("etab", "rmtab", "xtab"):
        _put(os.path.join(scratch, "nfs", table), "")
    exported = os.path.join(scratch, "root")
    _put(os.path.join(scratch, "exports"), _with_folder(file, exported))
    status, said = _run("unshare", "--mount", "--net", "sh", "-c", EXPORTFS, "exports", scratch)
    told = re.sub(r"/etc/exports(:[0-9]+)?", file, said.replace(exported, "FOLDER"))
    return told.strip() or _complaint(status, said, said)


def _with_folder(file: str, folder: str) -> str:
    with open(file) as exports:
        return re.sub(r"^/\S+", folder, exports.read(), flags=re.MULTILINE)


def _put(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def grub(file: str, scratch: str) -> str:
    status, said = _run("grub-script-check", file)
    return _complaint(status, said, said)


def grubs(pattern: str, scratch: str) -> str:
    """Nodes' own files by the thousand: as one script, and one by one only if that is wrong."""
    files = _files(*os.path.split(pattern))
    _put(whole := os.path.join(scratch, "all"), "\n".join(_text(file) for file in files))
    if not grub(whole, scratch):
        return ""
    complaints = [
        f"{os.path.basename(file)}: {said}" for file in files if (said := grub(file, scratch))
    ]
    return "\n".join(complaints)


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


CHECKERS = (
    FileChecker(
        "dhcpd.conf", "dhcpd", "apt install isc-dhcp-server, dnf install dhcp-server", dhcpd
    ),
    FileChecker(
        "kea-dhcp4.json", "kea-dhcp4", "apt install kea-dhcp4-server, dnf install kea", kea
    ),
    FileChecker(
        "dnsmasq.conf", "dnsmasq", "apt install dnsmasq-base, dnf install dnsmasq", dnsmasq
    ),
    FileChecker(
        "exports", "exportfs", "apt install nfs-kernel-server, dnf install nfs-utils", exportfs
    ),
    FileChecker(
        "tftp/grub/grub.cfg",
        "grub-script-check",
        "apt install grub-common, dnf install grub2-tools-minimal",
        grub,
    ),
    FileChecker(
        "tftp/grub/grub.cfg-*",
        "grub-script-check",
        "apt install grub-common, dnf install grub2-tools-minimal",
        grubs,
    ),
)
