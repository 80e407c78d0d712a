"""Power cuts of a deploy as a server's disk sees them: one file system with tftp_root and nfs_root, all writes logged.

The file system is mounted so that it helps as little as it may: `noauto_da_alloc` (ext4(5)) takes away its guess that
who renames a file wants its bytes on disk first, `data=writeback` the promise that names do not come before bytes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tasks.core.base.errors import Refused
from tasks.core.deploy.rollback import RollbackChoice, rollback_server
from tasks.core.plan.state import Desired
from tasks.core.store.paths import Targets
from tests.support.crash_replay import Cut, Write, crash, logged
from tests.support.deploy_kit import AUTHOR, boot_files, build, run, served, want
from tests.support.loop_disk import MIB, command

OPTIONS = "loop,noauto_da_alloc,data=writeback,commit=1"


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Targets]:
    """A server whose folders are on the image."""
    folder.mkdir(parents=True, exist_ok=True)
    command("mount", "-o", OPTIONS, image, folder)
    try:
        yield Targets("/tftpboot", "/opt/nfs_export", str(folder))
    finally:
        subprocess.run(["umount", folder], check=True)


@dataclass(frozen=True)
class Deploy:
    """A recorded one, or a rollback: the disk before it, what that was told, what was served before and shall be."""

    base: Path
    log: Sequence[Write]
    again: Callable[[Targets], object]  # the same once more
    old: tuple[str, str]  # release and site data
    new: tuple[str, str]


def record(
    folder: Path, files: int = 200, how: Callable[[Targets, Desired], object] = run
) -> Deploy:
    """Deploy one release, then `how` another one over it, recorded."""
    first, second = two(folder, files)

    def again(targets: Targets) -> object:
        return how(targets, second)

    base, log = _recorded(folder, [first], again)
    return Deploy(
        base, log, lambda targets: run(targets, second), _served_by(first), _served_by(second)
    )


def record_rollback(folder: Path, files: int = 200) -> Deploy:
    """Deploy two releases, then go back to the first one, recorded."""
    wanted = two(folder, files)
    base, log = _recorded(folder, wanted, roll_back)
    before = _served_by(wanted[1])
    return Deploy(base, log, roll_back, before, (_served_by(wanted[0])[0], before[1]))


def roll_back(targets: Targets) -> None:
    """After one that was done there is nothing to go back to."""
    with contextlib.suppress(Refused):
        rollback_server(targets, RollbackChoice(["worker"]), boot_files, AUTHOR)


def two(folder: Path, files: int) -> list[Desired]:
    changes = {f"file{number}": b"new\n" * 50 for number in range(0, files, 2)}
    builds = [
        build(folder / "1", files=files),
        build(folder / "2", files=files, kernel=b"new kernel", **changes),
    ]
    return [want(one, site_img=b"site %d" % number * 99) for number, one in enumerate(builds)]


def _served_by(wanted: Desired) -> tuple[str, str]:
    return wanted.releases[0].release.id, wanted.site_id


def _recorded(
    folder: Path, before: Sequence[Desired], how: Callable[[Targets], object]
) -> tuple[Path, Sequence[Write]]:
    """A disk to which so much was deployed, and what it is told then."""
    base = folder / "base.img"
    with open(base, "wb") as file:
        file.truncate(48 * MIB)
    command("mkfs.ext4", "-q", "-F", base)
    with mounted(base, folder / "mnt") as targets:
        for wanted in before:
            run(targets, wanted)
    with (
        logged(folder / "log", base) as log,
        mounted(folder / "log/exported.img", folder / "mnt") as targets,
    ):
        how(targets)
    return base, log


def careless(targets: Targets, wanted: Desired) -> None:
    """A deploy that flushes nothing; then somebody else's fsync, which commits all names there are, and no bytes."""
    nothing = {"new": lambda what: None}
    with (
        mock.patch.object(os, "fsync", **nothing),
        mock.patch("tasks.core.store.tftp.sync", **nothing),
        mock.patch("tasks.core.store.commit.sync", **nothing),
        mock.patch("tasks.core.deploy.publish.sync", **nothing),
    ):
        run(targets, wanted)
    with open(os.path.join(targets.destdir, "another"), "wb") as file:
        os.fsync(file.fileno())


def end_of(deploy: Deploy, cut: Cut, folder: Path) -> str:
    """What nodes are served after the cut: "old", "new", "between" (some loaders' files are old) or "torn: why"."""
    image = folder / "crash.img"
    image.unlink(
        missing_ok=True
    )  # another inode: a loop device of the last one may still be there, with its cache
    crash(deploy.base, cut.of(deploy.log), image)
    with mounted(image, folder / "crash") as targets:
        try:
            found = served(targets)
        except (AssertionError, AttributeError, LookupError, OSError, Refused) as error:
            return f"torn: {type(error).__name__}: {error}"
    seen = found if isinstance(found, list) else [found]
    if not set(seen) <= {deploy.old, deploy.new}:
        return f"torn: {seen}"
    return "between" if len(seen) > 1 else "new" if seen[0] == deploy.new else "old"


def finishes(deploy: Deploy, folder: Path) -> bool:
    """Whether the same again on the last crash image makes it the new one."""
    with mounted(folder / "crash.img", folder / "crash") as targets:
        deploy.again(targets)
        return served(targets) == deploy.new
