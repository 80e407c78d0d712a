"""The agent: the end of a line that is on the server.

`controller` sends the packages that `core_zip` packs, and has them run by the server's python3.
Everything that they import is the standard library's, or came along, and runs on Python 3.9 (EL9,
Debian 11). The agent hears and tells lines of JSON. Whoever asked must be heard from now and then,
or a cut line would hold the lock for ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ..base.errors import Refused
from ..base.files import clear, digest_file, digest_once, read
from ..checkout.rootless import privileged
from ..plan.state import BuiltRelease, Desired
from ..release import HOOKS_IMG, Release
from ..store.kept import published
from ..store.paths import Targets
from ..store.served import incoming_root_file
from ..tree.manifest import Manifest
from ..tree.manifest import read_manifest as read_record
from ..tree.model import Tree
from . import operations
from .fetch import fetch_from_any
from .goal import PARTS, unpack_goal
from .line import CORE, MARK, SILENCE, Sections
from .options import Values, unpack_options

BATCH = 1000  # names a line
PIECE = 1 << 16  # bytes that are heard at a time
TOGETHER = (  # what is brought at once: whoever reads one of them reads the others, too
    ("root.mtree", "root.xattrs"),
    ("vmlinuz", "initrd.img", HOOKS_IMG),
)
# Waits for the end of a pipe that only the run holds: what ends that, were it kill -9, ends the
# wait.
GUARD = 'trap "" HUP INT TERM; read -r _; rm -rf -- "$0"'
STALE = 24 * 3600  # seconds; no run takes so long


def main(folder: str) -> None:
    """Do what is asked, tell how it ended, and end this process.

    `folder` is this run's own; it is removed.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what was begun is ended, whoever has gone
    os.umask(0o022)
    guard = _guarded(folder)
    channel = Channel(folder)
    try:
        channel.tell(done=_work(channel))
    except Exception as error:
        channel.tell(refused=_reason(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _sweep(os.path.dirname(folder))
        assert guard.stdin
        guard.stdin.close()
    os._exit(0)  # Python's own end would wait for the thread that listens, and abort


def _work(channel: Channel) -> Values:
    """Do what the first message asks for."""
    message = channel.hear()
    targets = Targets(*message["targets"])
    channel.begin(targets, message.get("goal"))
    return operations.do(unpack_options(message), targets, channel)


def _guarded(folder: str) -> subprocess.Popen[bytes]:
    """Have the folder removed when this process ends."""
    return subprocess.Popen(
        ["sh", "-c", GUARD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _sweep(above: str) -> None:
    """Remove the folders of runs that a power cut ended, or that an earlier version left."""
    with contextlib.suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            if entry.name.startswith("plugnode-") and _stale(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _stale(entry: os.DirEntry[str]) -> bool:
    """Is it a run's folder, of this user, that nothing was put into for long?"""
    status = entry.stat(follow_symlinks=False)
    is_ours = status.st_uid == os.geteuid()
    is_old = time.time() - status.st_mtime > STALE
    if not (is_ours and is_old and stat.S_ISDIR(status.st_mode)):
        return False
    return os.path.isfile(os.path.join(entry.path, CORE))


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
        self.rest = b""  # what was heard of the next line
        self._write("\n")  # behind a greeting of the login shell that ended no line
        self.tell(begun=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while piece := sys.stdin.buffer.read1(PIECE):  # type: ignore[union-attr]
            self.heard.put(piece)
        self.heard.put(b"")

    def hear(self) -> Any:
        """The next value. Raises Refused where there will be none."""
        while True:
            line = self._line()
            if line.strip():  # an empty line says that somebody is there
                return json.loads(line)

    def _line(self) -> bytes:
        """The next line. One that comes slowly is no silence."""
        pieces = [self.rest]
        while b"\n" not in pieces[-1]:
            try:
                piece = self.heard.get(timeout=SILENCE)
            except queue.Empty:
                why = f"nothing heard for {SILENCE} seconds from who asked; ended"
                raise Refused(why) from None
            if not piece:
                raise Refused("who asked has gone; ended")
            pieces.append(piece)
        line, _, self.rest = b"".join(pieces).partition(b"\n")
        return line

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

    def show(self, sections: Sections) -> None:
        self.tell(show=sections)

    def agree(self, by_id: list[str]) -> None:
        self.ask(agree=by_id)

    def wanted(self) -> Desired:
        return unpack_goal(self.goal, partial(_release_of, self), partial(_loaders, self))

    def render(self, release: Release, label: str, site_id: str) -> Mapping[str, bytes]:
        answer = self.ask(render=[release._asdict(), label, site_id])
        return {name: text.encode() for name, text in answer["files"].items()}

    def changes(self, asked: Values) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.ask(changes=asked)["told"]
        return told

    def peers(self, release: Release) -> list[str]:
        """Addresses of servers that may have its root file. It waits until there is one."""
        wants = {"release": release.id, "bytes": release.root_bytes}
        addresses: list[str] = self.ask(wants=wants)["peers"]
        return addresses

    def fetch(
        self,
        source: str,
        to: str,
        names: list[bytes],
        like: str = "",
    ) -> None:
        """Have files of the build brought here.

        `source` is "loaders", an image, or IMAGE/root.
        """
        os.makedirs(to, mode=0o700, exist_ok=True)
        if not names:
            return
        texts = [name.decode(errors="surrogateescape") for name in names]
        for first in range(0, len(texts), BATCH):
            self.tell(names=texts[first : first + BATCH])
        bring = {
            "source": source,
            "to": to,
            "like": like,
            "owners": privileged(to),
        }
        self.ask(bring=bring)


# --- what a server has been told of, and has not yet


def _release_of(channel: Channel, said: Mapping[str, Any]) -> RemoteRelease:
    release = Release(**said["release"])
    return RemoteRelease(
        release,
        os.path.join(channel.folder, release.image),
        said["sizes"],
        tuple(tuple(map(os.fsencode, paths)) for paths in said["shared"]),
        channel,
    )


def _loaders(channel: Channel, digests: Mapping[str, str]) -> dict[str, str]:
    """Each loader as a file of this machine: the one that is served already, where that is it."""
    folder = os.path.join(channel.folder, "loaders")
    files, missing = {}, []
    for name, digest in digests.items():
        served = channel.targets.served(name)
        if os.path.isfile(served) and digest_once(served) == digest:
            files[name] = served
        else:
            files[name] = os.path.join(folder, name)
            missing.append(os.fsencode(name))
    channel.fetch("loaders", folder, sorted(missing))
    return files


def _file_of(targets: Targets, id: str, name: str) -> str:
    """Where a server has this file of the build of a release."""
    if name.startswith("root."):
        return targets.kept(f"{id}.{name[len('root.') :]}")
    return f"{targets.boot(id)}/{name}"


@dataclasses.dataclass(frozen=True)
class RemoteRelease(BuiltRelease):
    """A release that was built elsewhere.

    What this server has of it is read here, the rest is brought when needed.
    """

    sizes: Mapping[str, int] = dataclasses.field(compare=False)
    # The names of each hard-linked file.
    shared: tuple[tuple[bytes, ...], ...] = dataclasses.field(compare=False)
    channel: Channel = dataclasses.field(compare=False)

    def path(self, name: str) -> str:
        if found := self._found(name):
            return found
        self.channel.fetch(self.release.image, self.folder, self._missing(name))
        return os.path.join(self.folder, name)

    def _missing(self, name: str) -> list[bytes]:
        """The file, and what is not here of those that it comes with."""
        missing = [name]
        for other in next((names for names in TOGETHER if name in names), ()):
            is_part = other != name and getattr(self.release, PARTS[other])
            if is_part and not self._found(other):
                missing.append(other)
        return list(map(os.fsencode, missing))

    def _found(self, name: str) -> str | None:
        """The file, where it was brought or is of a release that is here."""
        brought = os.path.join(self.folder, name)
        return brought if os.path.exists(brought) else self._present(name)

    def root_file(self, like: str) -> str:
        """It comes to where it is published from: from another server, else from who asked.

        That one makes it of the earlier one that is here.
        """
        release, channel = self.release, self.channel
        to = incoming_root_file(channel.targets, release)
        path = os.path.join(to, release.root_name)
        source, reasons = "", dict[str, str]()
        if release.is_fetched:
            source, reasons = fetch_from_any(channel.peers(release), release, path)
        if not source:
            channel.fetch(release.image, to, [release.root_name.encode()], like)
        came = f"{release.root_name} came from {source or 'the machine that deploys'}"
        others = "".join(f"; not from {address}: {why}" for address, why in reasons.items())
        channel.say(f"{release.id}: {came}{others}")
        return path

    def offer(self) -> None:
        if self.release.is_fetched:
            self.channel.tell(has=self.release.id)

    def _present(self, name: str) -> str | None:
        """A file of a release that is here, with the very bytes."""
        if name not in PARTS:
            return None
        part, targets = PARTS[name], self.channel.targets
        digest = getattr(self.release, part)
        for id, release in published(targets).items():
            if getattr(release, part) == digest:
                path = _file_of(targets, id, name)
                if os.path.isfile(path) and digest_file(path) == digest:
                    return path
        return None

    def size(self, name: str) -> int:
        return self.sizes[name]

    def manifest(self) -> Manifest:
        manifest = read(self.path("root.mtree"))
        labels = read(self.path("root.xattrs"))
        inodes: dict[bytes, int] = {}
        for number, paths in enumerate(self.shared, 1):
            inodes.update(dict.fromkeys(paths, number))
        return Manifest(manifest, labels, inodes, os.fsencode(self._received))

    @property
    def _received(self) -> str:
        """Where the root's files come to, and stay until they are one.

        It is on the file system of the releases.
        """
        return os.path.join(self.channel.targets.received, self.release.id)

    def fetch(self, paths: Iterable[bytes], like: str | None) -> str | None:
        self._clear_others()
        present = set(self._present_files())
        missing = [path for path in paths if path not in present]
        root = self.channel.targets.root(like) if like else ""
        self.channel.fetch(f"{self.release.image}/root", self._received, missing, root)
        return self._received

    def _clear_others(self) -> None:
        """Remove what came of other releases."""
        received = self.channel.targets.received
        for id in os.listdir(received) if os.path.isdir(received) else ():
            if id != self.release.id:
                clear(os.path.join(received, id))

    def _present_files(self) -> Iterator[bytes]:
        """Files that an earlier deploy, cut off, had brought.

        What is none of the root's is removed.
        """
        top = os.fsencode(self._received)
        tree: Tree | None = None
        for file in _files_below(top):
            tree = tree or read_record(self.manifest())
            path = os.path.relpath(file, top)
            if path in tree and _is_file_of(file, tree[path].digest):
                yield path
            else:
                os.unlink(file)


def _files_below(top: bytes) -> Iterator[bytes]:
    for above, _, names in os.walk(top):
        for name in names:
            yield os.path.join(above, name)


def _is_file_of(file: bytes, digest: str) -> bool:
    return not os.path.islink(file) and digest_file(file) == digest
