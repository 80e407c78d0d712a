"""Make a fixture anew: what an earlier version of Plugnode left on a boot server and on a node's disk.

    .venv/bin/python -m tests.stress.earlier COMMIT        tests/fixtures/COMMIT.tar.xz

That commit's own code does it, in a git worktree: it deploys a tiny site twice, with a pin and a
drop-in for dnsmasq; its own setup.sh commits a disk (loop devices: root). See tests/fixtures/README.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import earlier_site
from tests.support.commands import REPOSITORY
from tests.support.loop_disk import Node

# Boot programs of this machine: large, and nothing of Plugnode's
LEFT_OUT = ["pxelinux.0", "*.c32", "*.efi", "*.kpxe"]
STEPS = (("one", ""), ("two", "release"))  # texts of the reference, and what is pinned meanwhile


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory(prefix="plugnode-earlier-") as folder:
        make(commit, Path(folder))
    return 0


def make(commit: str, folder: Path) -> None:
    code = folder / "code"
    run("git", "-C", REPOSITORY, "worktree", "add", "--detach", code, commit)
    try:
        left = folder / "left"
        left.mkdir()
        earlier_site.reference(left / "reference")
        server(code, left)
        disk(code, folder, left)
        pack(left, REPOSITORY / f"tests/fixtures/{commit}.tar.xz")
    finally:
        run("git", "-C", REPOSITORY, "worktree", "remove", "--force", code)


def server(code: Path, left: Path) -> None:
    """Deploy, change a file of the reference, pin a node to the first release, deploy again."""
    earlier_site.write(left / "site.yaml")
    doit(code, left, "deploy")
    first = earlier_site.built(left)
    earlier_site.change(left / "reference")
    earlier_site.write(left / "site.yaml", pinned=first)
    doit(code, left, "deploy")


def doit(code: Path, left: Path, *words: str) -> None:
    variables = (f"site={left}/site.yaml", f"build={left.parent}/build", f"destdir={left}/dest")
    run(sys.executable, "-m", "doit", *words, *variables, cwd=code)


def disk(code: Path, folder: Path, left: Path) -> None:
    """Have the commit's own setup.sh take a blank disk."""
    scripts = code / "overlays/worker/etc"
    node = Node(folder / "node", setup=scripts / "setup.sh", parts=scripts / "plugnode")
    said = node.boot(then="echo kept >home/kept; echo kept >var/log/kept; df -h var home")
    print(said)
    assert not node.degraded, node.degraded
    shutil.copyfile(node.image, left / "disk.img")


def pack(left: Path, archive: Path) -> None:
    shutil.rmtree(left / "reference")
    archive.parent.mkdir(exist_ok=True)
    without = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    options = ["--numeric-owner", "--sparse", "--sort=name", "--xattrs", *without]
    run("tar", "-C", left, *options, "-cJf", archive, ".")
    print(f"{archive}: {archive.stat().st_size} bytes")


def run(*words: str | Path, **options: Path) -> None:
    subprocess.run([*map(str, words)], check=True, **options)  # type: ignore[call-overload]


if __name__ == "__main__":
    sys.exit(main())
