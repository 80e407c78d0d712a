"""Work on a boot server killed at each of its steps, and what is served then, seen by who knows nothing of ours.

The work is a process of its own (fork), which ends itself with SIGKILL right before its n-th step: a rename, link,
unlink, mkdir, rmdir, or a flush. `wrong` reads what firmware, loaders and nodes read, with hashlib and json alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator

STEPS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.fsync", "syncfs"}


class Countdown:
    """Counts the steps of this process, and kills it right before the one of that number; 0: never."""

    def __init__(self, at: int):
        self.at, self.count = at, 0
        self.fsync, self.library = os.fsync, ctypes.CDLL
        sys.addaudithook(lambda event, _: self.step() if event in STEPS else None)
        os.fsync = self.flush  # neither of the two has an audit event
        ctypes.CDLL = self.loaded

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(self, fd: int) -> None:
        self.step()
        self.fsync(fd)

    def loaded(self, *words, **options):
        self.step()
        return self.library(*words, **options)


def killed(work: Callable[[], object], at: int) -> int:
    """Do the work in a process of its own, killed before step `at`. How many steps it made; 0 where it was killed."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _count(work, at, theirs)
    os.close(theirs)
    with open(ours) as told:
        words = told.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return 0
    assert status == 0, words
    return int(words)


def _count(work: Callable[[], object], at: int, told: int) -> None:
    """In the process of its own: never comes back."""
    try:
        countdown = Countdown(at)
        work()
        os.write(told, b"%d" % countdown.count)
        os._exit(0)
    except BaseException as error:
        os.write(told, repr(error).encode())
        os._exit(1)


def every_kill(folder: pathlib.Path, work: Callable[[], object]) -> Iterator[int]:
    """Once for each step of the work: `folder` as it was at first, then the work killed before that step."""
    before = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    _copy(folder, before)
    number = 1
    while not killed(work, number):
        yield number
        number += 1
        shutil.rmtree(folder)
        _copy(before, folder)


def _copy(folder: pathlib.Path, to: pathlib.Path) -> None:
    os.system(f"cp -a '{folder}' '{to}'")


# --- what is served, by who knows only what is written for others to read


def boots(dest: pathlib.Path, image: str = "worker") -> set[tuple[str, str]]:
    """(release, site data) that the image's boot files name, whichever loader reads which."""
    found = set()
    for kind in ("cfg", "grub", "ipxe"):
        text = (dest / f"tftpboot/plugnode/{image}.{kind}").read_text()
        release = re.search(r"(\S+?)/vmlinuz", text)[1].lstrip("/")
        found.add((release, re.search(r"(site-[0-9a-f]{12})/site.img", text)[1]))
    return found


def wrong(dest: pathlib.Path, image: str = "worker") -> list[str]:
    """What a node of the image would come upon, a line each: of each release and site data that boot files name."""
    found: list[str] = []
    for release, site in boots(dest, image):
        said = json.loads((dest / f"opt/nfs_export/.plugnode/{release}.json").read_text())
        files = {f"{release}/vmlinuz": said["kernel"], f"{release}/initrd.img": said["initrd"]}
        for name, digest in {**files, f"{site}/site.img": site[5:]}.items():
            found += _unlike(dest / "tftpboot" / name, digest)
        manifest = dest / f"opt/nfs_export/.plugnode/{release}.mtree"
        found += [
            *_unlike(manifest, said["root"]),
            *_root(manifest, dest / "opt/nfs_export" / release),
        ]
    return found


def listed(dest: pathlib.Path) -> list[str]:
    """What of `.plugnode/files` is not so, as `sha256sum --check` says it."""
    lines = (dest / "opt/nfs_export/.plugnode/files").read_text().splitlines()
    pairs = [line.split("  /", 1) for line in lines]
    return [line for digest, path in pairs for line in _unlike(dest / path, digest)]


def _unlike(path: pathlib.Path, digest: str) -> list[str]:
    if not path.is_file():
        return [f"{path}: missing"]
    return (
        []
        if hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
        else [f"{path}: other bytes"]
    )


def _root(manifest: pathlib.Path, root: pathlib.Path) -> Iterator[str]:
    names = set()
    for line in manifest.read_text().splitlines():
        if not line.startswith("."):
            continue
        name, *words = line.split()
        said = dict(word.partition("=")[::2] for word in words)
        path = root / re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), name)
        names.add(path)
        if not os.path.lexists(path):
            yield f"{path}: missing"
        elif said["type"] != "link" and stat.S_IMODE(path.lstat().st_mode) != int(said["mode"], 8):
            yield f"{path}: mode"
        elif said["type"] == "file":
            yield from _unlike(path, said["sha256digest"])
    yield from (f"{path}: added" for path in root.rglob("*") if path not in names)
