"""Each generated file, shown to the program that will read it, in surroundings of its own.

None of the checkers touches a running server. What they do not see (dhcpd takes a MAC twice,
GRUB's takes any command) is for the site's own checks.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from ..base.programs import ask_program, complaint_of, find_program
from ..dhcp.server import DhcpServer, Packages
from ..dhcp.servers import SERVERS

OK, SKIPPED, FAILED = "ok", "skipped", "failed"
MOST_LINES = 12  # of a complaint


class CheckResult(NamedTuple):
    """What became of one file."""

    file: str
    verdict: str  # OK | SKIPPED | FAILED
    text: str = ""  # why it was skipped, or what its program has against it


class FileChecker(NamedTuple):
    file: str  # below the folder of configs; `*` at its end: all that begin so, as one
    program: str
    packages: Packages
    complaint: Callable[[str, str], str]  # (file, a scratch folder) -> what is wrong, "" if nothing


def validate(folder: str) -> list[CheckResult]:
    """Every file of `folder` (build/configs) that some program can check, in a fixed order."""
    return [_checked(folder, checker) for checker in CHECKERS if _files(folder, checker.file)]


def _checked(folder: str, checker: FileChecker) -> CheckResult:
    if obstacle := _obstacle(checker):
        return CheckResult(checker.file, SKIPPED, obstacle)
    with tempfile.TemporaryDirectory(prefix="plugnode-check-") as scratch:
        complaint = checker.complaint(os.path.join(folder, checker.file), scratch)

    if "ermission denied" in complaint:
        text = f"{checker.program} may not read {folder} (AppArmor?)"
        return CheckResult(checker.file, SKIPPED, text)
    verdict = FAILED if complaint else OK
    return CheckResult(checker.file, verdict, _first_lines(complaint))


def _obstacle(checker: FileChecker) -> str:
    """Why a program cannot be asked here, "" if it can."""
    if not find_program(checker.program):
        install = f"apt install {checker.packages.debian}, dnf install {checker.packages.el}"
        return f"{checker.program} is not installed ({install})"
    if checker.program == "exportfs" and os.geteuid() != 0:
        return "exportfs can only be asked by root"
    return ""


def _first_lines(complaint: str) -> str:
    """A mistake in a loop is said ten thousand times."""
    lines = complaint.splitlines()
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES} lines more"]
    return "\n".join(lines)


def _files(folder: str, name: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), name)))


# NFS

# A mount namespace where /etc/exports is ours and the tables of what is exported are empty, and a
# network namespace whose NFS server has never run. The exported folder need not exist here: a
# scratch one stands in.
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

    argv = ("unshare", "--mount", "--net", "sh", "-c", EXPORTFS, "exports", scratch)
    status, said = ask_program(*argv)
    told = re.sub(r"/etc/exports(:[0-9]+)?", file, said.replace(exported, "FOLDER"))
    return told.strip() or complaint_of(status, said, said)


def _with_folder(file: str, folder: str) -> str:
    return re.sub(r"^/\S+", folder, _text(file), flags=re.MULTILINE)


# GRUB


def grub(file: str, scratch: str) -> str:
    status, said = ask_program("grub-script-check", file)
    return complaint_of(status, said, said)


def grubs(pattern: str, scratch: str) -> str:
    """Nodes' own files by the thousand: as one script, and one by one only if that is wrong."""
    files = _files(*os.path.split(pattern))
    whole = os.path.join(scratch, "all")
    _put(whole, "\n".join(map(_text, files)))
    if not grub(whole, scratch):
        return ""

    complaints = []
    for file in files:
        if said := grub(file, scratch):
            complaints.append(f"{os.path.basename(file)}: {said}")
    return "\n".join(complaints)


# HTTP


def nginx(file: str, scratch: str) -> str:
    """The file is one of several that nginx reads: the rest of them stands in."""
    whole = os.path.join(scratch, "nginx.conf")
    main = f"pid {scratch}/pid; error_log stderr; events {{}}"
    _put(whole, f'{main} http {{ include "{os.path.abspath(file)}"; }}\n')
    status, said = ask_program("nginx", "-t", "-q", "-c", whole)
    return complaint_of(status, said, said)


# Reports of boots


def rsyslog(file: str, scratch: str) -> str:
    status, said = ask_program("rsyslogd", "-N1", "-f", os.path.abspath(file))
    return complaint_of(status, said, said)


def logrotate(file: str, scratch: str) -> str:
    """It takes no file that others may write to."""
    own = os.path.join(scratch, "logrotate.conf")
    _put(own, _text(file))
    state = os.path.join(scratch, "state")
    status, said = ask_program("logrotate", "--debug", "--state", state, own)
    return complaint_of(status, said, said)


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def _put(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


# Files of the cluster, by `outputs:`


def genders(file: str, scratch: str) -> str:
    status, said = ask_program("nodeattr", "-f", file, "-k")
    return complaint_of(status, said, said)


def zones(pattern: str, scratch: str) -> str:
    complaints = []
    for file in _files(*os.path.split(pattern)):
        zone = os.path.basename(file).removeprefix("db.")
        status, said = ask_program("named-checkzone", zone, file)
        if status:
            complaints.append(complaint_of(status, said, said))
    return "\n".join(complaints)


def prometheus(file: str, scratch: str) -> str:
    config = os.path.join(scratch, "prometheus.yml")
    jobs = [{"job_name": "nodes", "file_sd_configs": [{"files": [os.path.abspath(file)]}]}]
    _put(config, json.dumps({"scrape_configs": jobs}))
    status, said = ask_program("promtool", "check", "config", config)
    return complaint_of(status, said, said)


# All of them


def _checker_of(server: DhcpServer) -> FileChecker:
    return FileChecker(server.source, server.program, server.packages, server.complaint)


NFS_SERVER = Packages("nfs-kernel-server", "nfs-utils")
GENDERS = Packages("genders", "genders")
BIND = Packages("bind9-utils", "bind-utils")
PROMETHEUS = Packages("prometheus", "prometheus")
GRUB_TOOLS = Packages("grub-common", "grub2-tools-minimal")
NGINX = Packages("nginx-light", "nginx")
RSYSLOG = Packages("rsyslog", "rsyslog")
LOGROTATE = Packages("logrotate", "logrotate")
CHECKERS = (
    *map(_checker_of, SERVERS),
    FileChecker("exports", "exportfs", NFS_SERVER, exportfs),
    FileChecker("nginx.conf", "nginx", NGINX, nginx),
    FileChecker("rsyslog.conf", "rsyslogd", RSYSLOG, rsyslog),
    FileChecker("logrotate.conf", "logrotate", LOGROTATE, logrotate),
    FileChecker("tftp/grub/grub.cfg", "grub-script-check", GRUB_TOOLS, grub),
    FileChecker("tftp/grub/grub.cfg-*", "grub-script-check", GRUB_TOOLS, grubs),
    FileChecker("cluster/genders", "nodeattr", GENDERS, genders),
    FileChecker("cluster/db.*", "named-checkzone", BIND, zones),
    FileChecker("cluster/prometheus.json", "promtool", PROMETHEUS, prometheus),
)
