"""Run the README's commands on other distributions' hosts, each in a fresh chroot with namespaces.

    .venv/bin/python -m tests.stress.hosts [--folder DIR] trixie ./doit
    .venv/bin/python -m tests.stress.hosts noble ./doit test

A minimal system of that suite is bootstrapped once (DIR/SUITE), what is committed here is cloned
into it, and the command is run there as a new user would: nothing is installed but git. It needs
root, and a network that reaches the distribution's mirror and PyPI. `./doit test` and `./doit boot`
start virtual machines: there it takes hours. Where a machine has other work, too, the tests run in
two halves, once what they need is installed:

    .venv/bin/python -m tests.stress.hosts trixie ./doit test -h
    .venv/bin/python -m tests.stress.hosts trixie .venv/bin/python -m pytest -n 2 -m "not vm"
    .venv/bin/python -m tests.stress.hosts trixie .venv/bin/python -m pytest -m vm

Debian has no keyring of Ubuntu's: give noble its mirror as `--source "deb [trusted=yes] URL noble
main universe"`, and noble-updates the same way; what comes of it lives in a chroot, and is thrown
away.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.commands import REPOSITORY

SUITES = ("bullseye", "bookworm", "trixie", "focal", "noble")
PLACE = "root/plugnode"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"  # a site may have its own
# In namespaces of its own: killed, every process and mount of it is gone. Its root is a mount, as
# that of every real machine.
CONFINED = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--"]
ENTER = f"""
mount --bind "$0" "$0"; cd "$0"
for folder in sys dev; do mount --rbind /$folder $folder; done
mount -t proc proc proc; mount -t tmpfs tmpfs run
pivot_root . .; umount -l .
exec chroot . env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
  PIP_CERT=/{CERTIFICATES} SSL_CERT_FILE=/{CERTIFICATES} sh -c "cd /{PLACE}; $1"
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/plugnode-hosts"))
    parser.add_argument(
        "--source", action="append", default=[], help="a mirror, or a line of apt's: for mmdebstrap"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    root = wanted.folder / wanted.suite
    if not root.exists():
        bootstrap(wanted.suite, root, wanted.source)
    lend(root)
    clone(root)
    words = shlex.join(wanted.command or ["./doit"])
    print(f"{wanted.suite}: {words}", flush=True)
    done = subprocess.run([*CONFINED, "sh", "-ec", ENTER, root, words])
    print(f"{wanted.suite}: exit status {done.returncode}")
    return done.returncode


def bootstrap(suite: str, root: Path, sources: list[str]) -> None:
    """Make a minimal system, with git and nothing else of what Plugnode needs."""
    root.parent.mkdir(parents=True, exist_ok=True)
    minimal = ["--variant=minbase", "--include=apt,git,ca-certificates"]
    print(f"{suite}: bootstrapped to {root}", flush=True)
    words = ["mmdebstrap", "--quiet", *minimal, suite, root, *sources]
    subprocess.run(words, check=True)


def lend(root: Path) -> None:
    """Let it have this machine's way to the network."""
    for name in ("etc/resolv.conf", CERTIFICATES):
        (root / name).unlink(missing_ok=True)
        shutil.copyfile(f"/{name}", root / name)


def clone(root: Path) -> None:
    """Bring what is committed here, in place of an earlier clone; its build stays."""
    place = root / PLACE
    head = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not place.exists():
        subprocess.run(["git", "clone", "-q", "--no-local", REPOSITORY, place], check=True)
    subprocess.run(["git", "-C", place, "fetch", "-q", REPOSITORY, "HEAD"], check=True)
    subprocess.run(["git", "-C", place, "checkout", "-q", "-f", head], check=True)


if __name__ == "__main__":
    sys.exit(main())
