"""Far: the end of a line that is on the server. `fleet` sends the core there and has it run by the server's python3.

Everything that it imports is the standard library's, or came along, and runs on Python 3.9 (EL9, Debian 11). It hears
and tells lines of JSON. Whoever asked must be heard from now and then, or a cut line would hold the lock for ever.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..base import files
from ..base.errors import Refused
from ..base.files import digest_file
from ..checkout.rootless import privileged
from ..plan.state import BuiltRelease, Desired
from ..release import Release
from ..services import services
from ..store.kept import published
from ..store.paths import Targets
from ..tree.manifest import Manifest
from ..tree.manifest import read_manifest as read_record
from . import operations

MARK = "plugnode:"  # begins a line that is ours; what a login shell says does not
SILENCE = 30  # seconds without a word from whoever asked
BATCH = 1000  # names a line
PARTS = {
    "root.mtree": "root",
    "root.xattrs": "xattrs",
    "initrd.img": "initrd",
    "vmlinuz": "kernel",
}  # -> of Release


# Waits for the end of a pipe that only the run holds: what ends that, were it kill -9, ends the wait.
GUARD = 'trap "" HUP INT TERM; cat >/dev/null; rm -rf -- "$0"'
STALE = 24 * 3600  # seconds; no run takes so long


def main(folder: str) -> None:
    """Do what is asked, tell how it ended, and end this process. `folder` is this run's own; it is removed."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what was begun is ended, whoever has gone
    os.umask(0o022)
    guard = _guarded(folder)
    line = Channel(folder)
    try:
        asked = line.hear()
        targets = Targets(*asked["targets"])
        line.begin(targets, asked.get("goal"))
        line.tell(done=operations.do(asked["do"], targets, line, asked["details"]))
    except Exception as error:
        line.tell(refused=_reason(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _sweep(os.path.dirname(folder))
        assert guard.stdin
        guard.stdin.close()
    os._exit(0)  # Python's own end would wait for the thread that listens, and abort


def _guarded(folder: str) -> subprocess.Popen[bytes]:
    """Have the folder removed when this process ends."""
    return subprocess.Popen(
        ["sh", "-c", GUARD, folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _sweep(above: str) -> None:
    """Remove the folders of runs that a power cut ended, or that an earlier version left."""
    with contextlib.suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            if entry.name.startswith("plugnode-") and _stale(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _stale(entry: os.DirEntry[str]) -> bool:
    """Is it a run's folder, of this user, that nothing was put into for long?"""
    status = entry.stat(follow_symlinks=False)
    is_ours = entry.is_dir(follow_symlinks=False) and status.st_uid == os.geteuid()
    is_old = time.time() - status.st_mtime > STALE
    return is_ours and is_old and os.path.isfile(os.path.join(entry.path, "core.zip"))


def _reason(error: Exception) -> str:
    try:
        return operations.failure(error)
    except Exception:
        traceback.print_exc()
        return f"a bug in Plugnode: {type(error).__name__}: {error}"


class Channel:
    """The line to whoever asked, by standard input and output."""

    def __init__(self, folder: str):
        self.folder = folder
        self.heard: queue.Queue[bytes] = queue.Queue()
        self._write("\n")  # behind a greeting of the login shell that ended no line
        self.tell(begun=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            self.heard.put(line)
        self.heard.put(b"")

    def hear(self) -> Any:
        """The next value. Raises Refused where there will be none."""
        while True:
            try:
                line = self.heard.get(timeout=SILENCE)
            except queue.Empty:
                raise Refused(
                    f"nothing heard for {SILENCE} seconds from who asked; ended"
                ) from None
            if not line:
                raise Refused("who asked has gone; ended")
            if line.strip():  # an empty line says that somebody is there
                return json.loads(line)

    def tell(self, **message: Any) -> None:
        self._write(f"{MARK}{json.dumps(message)}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: no reason to stop half way
            sys.stdout.write(text)
            sys.stdout.flush()

    def ask(self, **message: Any) -> Any:
        self.tell(**message)
        answer = self.hear()
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer

    def begin(self, targets: Targets, goal: Any) -> None:
        self.targets, self.goal = targets, goal

    def say(self, text: str) -> None:
        self.tell(say=text)

    def show(self, sections: operations.Sections) -> None:
        self.tell(show=sections)

    def wanted(self) -> Desired:
        return unpack(self.goal, self)

    def render(self, release: Release, label: str, site: str) -> Mapping[str, bytes]:
        answer = self.ask(render=[dataclasses.asdict(release), label, site])
        return {name: text.encode() for name, text in answer["files"].items()}

    def bring(self, source: str, to: str, names: list[bytes], like: str = "") -> None:
        """Have files of the build brought here: `source` is "loaders", an image, or IMAGE/root."""
        os.makedirs(to, mode=0o700, exist_ok=True)
        if not names:
            return
        for first in range(0, len(names), BATCH):
            self.tell(
                names=[
                    name.decode(errors="surrogateescape") for name in names[first : first + BATCH]
                ]
            )
        self.ask(bring={"source": source, "to": to, "like": like, "owners": privileged(to)})


# --- what a server is told that it must hold


def pack(wanted: Desired, families: Mapping[bool, Iterable[services.Service]]) -> dict[str, Any]:
    """A wanted state as JSON, without the large files. `families`: daemons' files on EL (True) and elsewhere."""
    return {
        "releases": [_pack_release(built) for built in wanted.releases],
        "site_id": wanted.site_id,
        "site_img": base64.b64encode(wanted.site_img).decode(),
        "files": {name: data.decode() for name, data in wanted.files.items()},
        "loaders": {name: digest_file(path) for name, path in wanted.loaders.items()},
        "services": {
            str(is_el): [{**each._asdict(), "data": each.data.decode()} for each in found]
            for is_el, found in families.items()
        },
        "nodes": dict(wanted.nodes),
    }


def _pack_release(built: BuiltRelease) -> dict[str, Any]:
    sharing: dict[int, list[str]] = {}
    for path, inode in built.record().inodes.items():
        sharing.setdefault(inode, []).append(os.fsdecode(path))
    return {
        "release": dataclasses.asdict(built.release),
        "sizes": {name: built.size(name) for name in PARTS},
        "shared": sorted(paths for paths in sharing.values() if len(paths) > 1),
    }


def unpack(goal: Mapping[str, Any], line: Channel) -> Desired:
    """The wanted state on the server that it is of; what is large comes when it is read."""
    family = str(services.is_el())
    return Desired(
        releases=tuple(_unpack_release(each, line) for each in goal["releases"]),
        site_id=goal["site_id"],
        site_img=base64.b64decode(goal["site_img"]),
        files={name: text.encode() for name, text in goal["files"].items()},
        loaders=_loaders(goal["loaders"], line),
        services=tuple(_service(each) for each in goal["services"][family]),
        nodes=goal["nodes"],
    )


def _service(said: Mapping[str, Any]) -> services.Service:
    words = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return services.Service(**{**said, **words, "data": said["data"].encode()})


def _unpack_release(said: Mapping[str, Any], line: Channel) -> RemoteRelease:
    release = Release(**said["release"])
    shared = tuple(tuple(map(os.fsencode, paths)) for paths in said["shared"])
    return RemoteRelease(
        release, os.path.join(line.folder, release.image), said["sizes"], shared, line
    )


def _loaders(digests: Mapping[str, str], line: Channel) -> dict[str, str]:
    """Each loader as a file of this machine: the one that is served already, where that is it."""
    served = {name: line.targets.served(name) for name in digests}
    same = {
        name
        for name, path in served.items()
        if os.path.isfile(path) and digest_file(path) == digests[name]
    }
    to = os.path.join(line.folder, "loaders")
    line.bring("loaders", to, [os.fsencode(name) for name in sorted(digests.keys() - same)])
    return {name: served[name] if name in same else os.path.join(to, name) for name in digests}


def _file_of(targets: Targets, id: str, name: str) -> str:
    """Where a server has this file of the build of a release."""
    return (
        targets.kept(f"{id}.{name[len('root.') :]}")
        if name.startswith("root.")
        else f"{targets.boot(id)}/{name}"
    )


@dataclasses.dataclass(frozen=True)
class RemoteRelease(BuiltRelease):
    """A release that was built elsewhere: what this server has of it is read here, the rest is brought when needed."""

    sizes: Mapping[str, int] = dataclasses.field(compare=False)
    shared: tuple[tuple[bytes, ...], ...] = dataclasses.field(
        compare=False
    )  # the names of each hard-linked file
    line: Channel = dataclasses.field(compare=False)

    def path(self, name: str) -> str:
        brought = os.path.join(self.folder, name)
        if os.path.exists(brought):
            return brought
        if name in PARTS and (here := self._here(name, PARTS[name])):
            return here
        self.line.bring(self.release.image, self.folder, [name.encode()])
        return brought

    def _here(self, name: str, part: str) -> str | None:
        """A file of a release that is here, with the very bytes."""
        targets, digest = self.line.targets, getattr(self.release, part)
        ids = [id for id, release in published(targets).items() if getattr(release, part) == digest]
        for path in (_file_of(targets, id, name) for id in ids):
            if os.path.isfile(path) and digest_file(path) == digest:
                return path
        return None

    def size(self, name: str) -> int:
        return self.sizes[name]

    def record(self) -> Manifest:
        manifest, labels = files.read(self.path("root.mtree")), files.read(self.path("root.xattrs"))
        inodes = {path: number for number, paths in enumerate(self.shared, 1) for path in paths}
        return Manifest(manifest, labels, inodes, os.fsencode(self._received))

    @property
    def _received(self) -> str:
        """Where the root's files come to: on the file system of the releases, and there until they are one."""
        return os.path.join(self.line.targets.received, self.release.id)

    def bring(self, paths: Iterable[bytes], like: str | None) -> str | None:
        targets = self.line.targets
        for id in os.listdir(targets.received) if os.path.isdir(targets.received) else ():
            if id != self.release.id:
                files.clear(os.path.join(targets.received, id))
        there = set(self._come())
        missing = [path for path in paths if path not in there]
        self.line.bring(
            f"{self.release.image}/root",
            self._received,
            missing,
            targets.root(like) if like else "",
        )
        return self._received

    def _come(self) -> Iterator[bytes]:
        """Files that an earlier deploy, cut off, had brought; what is none of the root's is removed."""
        top, tree = os.fsencode(self._received), None
        for above, _, names in os.walk(top):
            for file in (os.path.join(above, name) for name in names):
                tree = tree or read_record(self.record())
                path = os.path.relpath(file, top)
                if (
                    path in tree
                    and not os.path.islink(file)
                    and digest_file(file) == tree[path].digest
                ):
                    yield path
                else:
                    os.unlink(file)
