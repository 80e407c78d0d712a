"""doit as an admin runs it, and other users."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
# Nodes that a test has not made answer nobody, and nothing of them is looked for outside of this machine
NO_WAY = {"RSYNC_RSH": "ssh -oProxyCommand=false"}
LONGEST = 2400  # seconds of a command: an emulated boot where two of them share two slow cores


class Doit:
    """doit on a site file of a test's own, with a build folder of its own."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.site = folder / "site.yaml"
        self.build = folder / "build"

    def __call__(self, *words: str, status: int = 0, **options) -> str:
        """Run doit; its output. The exit status must be `status`."""
        done = self.start(*words, **options)
        try:
            out = done.communicate(timeout=LONGEST)[0]
        except BaseException:  # too long here, or for the test: nothing goes on behind the next one
            done.terminate()
            print(done.communicate()[0])
            raise
        assert done.returncode == status, (
            f"doit {' '.join(words)}: exit status {done.returncode}\n{out}"
        )
        assert "Traceback" not in out, out
        return out

    def start(self, *words: str, **options) -> subprocess.Popen:
        argv = [sys.executable, "-m", "doit", *words, f"site={self.site}", f"build={self.build}"]
        options = {
            "cwd": REPOSITORY,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "env": {**NO_WAY, **os.environ},
            **options,
        }
        return subprocess.Popen(argv, **options)


NOBODY = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def as_nobody(*argv: str) -> list[str]:
    """The command as an ordinary user (tests run as root in CI), to whom this checkout is open wherever it lies."""
    return opened(*NOBODY, *argv)


def opened(*argv: str) -> list[str]:
    """The command, with this checkout open to every user."""
    closed = next(
        (folder for folder in reversed(REPOSITORY.parents) if not folder.stat().st_mode & 0o001),
        None,
    )
    if closed is None or os.geteuid():
        return list(argv)
    return ["unshare", "--mount", "sh", "-ec", OPENED, str(REPOSITORY), str(closed), *argv]


# /root, say: in its place a folder with nothing but the checkout in it.
OPENED = """
closed=$1
shift
held=$(mktemp -d)
mount --bind "$0" "$held"
mount -t tmpfs -o mode=755 none "$closed"
mkdir -p "$0"
mount --move "$held" "$0"
rmdir "$held"
cd "$PWD"
exec "$@"
"""
