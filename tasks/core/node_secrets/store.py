"""The secrets store: a folder of the machine that deploys, which nobody else may enter.

recipients        a line a node: its name, and the public key that it was enrolled with
key               32 bytes, without which no digest says what it is of
made.json         of what each blob was made, as keyed digests
blobs/NODE.age    what that node alone can open
ssh/NODE[.pub]    its ssh host key, where those are kept
    .lock             held by who changes any of it
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import NamedTuple

from ..base.errors import BadInput, Refused
from ..base.files import content, locked, unlink_if_there, write_atomic

PRIVATE = 0o600
_LINE = re.compile(r"([a-z0-9-]+) (age1[02-9ac-hj-np-z]{58})", re.ASCII)  # bech32 (BIP 173)
_KEY = 32  # bytes


class Made(NamedTuple):
    """Of what a blob was made: digests that nobody can compare without the store's key."""

    shape: str  # for whom, and where on the node what lies
    digest: str  # the same, and every byte
    blob: str = ""  # sha256 of the blob itself


class SecretsStore:
    """The store in a folder. Only `begin` makes it; nothing else writes where none is."""

    def __init__(self, folder: str):
        self.folder = folder

    def begin(self, build: str) -> None:
        """Make the folder where there is none. Raises Refused where it keeps no secret."""
        both = os.path.realpath(self.folder), os.path.realpath(build)
        if os.path.commonpath(both) in both:
            what = f"secrets_store and the build folder {build} lie in one another"
            raise Refused(f"{self.folder}: {what}; give it a folder of its own")
        if not os.path.lexists(self.folder):
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
            os.mkdir(self.folder, 0o700)
            write_atomic(self._path(".gitignore"), b"*\n", PRIVATE)
        self.refuse_open()
        for name in ("blobs", "ssh"):
            os.makedirs(self._path(name), 0o700, exist_ok=True)
        if content(self._path("key")) is None:
            write_atomic(self._path("key"), os.urandom(_KEY), PRIVATE, durable=True)

    def locked(self) -> AbstractContextManager[None]:
        """Held by who changes it. Raises Refused while another does."""
        return locked(self._path(".lock"), self.folder)

    def refuse_open(self) -> None:
        """Raises Refused where somebody else has the folder, or may enter it."""
        try:
            status = os.stat(self.folder)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            raise Refused(f"{self.folder}: secrets_store is no folder")
        if status.st_uid != os.geteuid():
            raise Refused(f"{self.folder}: secrets_store is another user's; who deploys owns it")
        if status.st_mode & 0o077:
            raise Refused(f"{self.folder}: others may enter it: chmod 0700 {self.folder}")

    def _path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    # --- nodes' public keys

    @property
    def recipients(self) -> dict[str, str]:
        """Each enrolled node's public key. Raises BadInput."""
        path = self._path("recipients")
        found = {}
        for number, line in enumerate((content(path) or b"").decode().splitlines(), 1):
            parts = _LINE.fullmatch(line)
            if parts is None:
                what = "no name and public key of a node; remove the line, and enroll the node"
                raise BadInput.at(path, what, number)
            found[parts[1]] = parts[2]
        return found

    def write_recipients(self, keys: Mapping[str, str]) -> None:
        lines = [f"{name} {key}\n" for name, key in sorted(keys.items())]
        write_atomic(self._path("recipients"), "".join(lines).encode(), PRIVATE, durable=True)

    def forget_others(self, names: Iterable[str]) -> list[str]:
        """Forget the keys of all who are not named: whose they were."""
        known = self.recipients
        gone = sorted(known.keys() - set(names))
        if gone:
            for name in gone:
                del known[name]
            self.write_recipients(known)
        return gone

    # --- blobs

    def keyed(self, *parts: bytes) -> str:
        """The digest of parts, which says nothing to who lacks the store's key."""
        whole = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.new(self._key, whole, hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        """Without a store nothing is equal to anything."""
        return content(self._path("key")) or os.urandom(_KEY)

    @property
    def made(self) -> dict[str, Made]:
        """Of what each node's blob was made; nothing where that is not known: it is made anew."""
        try:
            found = json.loads(content(self._path("made.json")) or b"{}")
            return {node: Made(*map(str, parts)) for node, parts in found.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def write_made(self, made: Mapping[str, Made]) -> None:
        text = json.dumps(made, indent=1, sort_keys=True)
        write_atomic(self._path("made.json"), text.encode(), PRIVATE, durable=True)

    def blob(self, node: str) -> bytes | None:
        return content(self._path("blobs", f"{node}.age"))

    def write_blob(self, node: str, data: bytes) -> None:
        write_atomic(self._path("blobs", f"{node}.age"), data, PRIVATE, durable=True)

    def remove_blobs(self, but: Iterable[str]) -> None:
        """Remove those of all other nodes."""
        kept = {f"{node}.age" for node in but}
        for name in set(os.listdir(self._path("blobs"))) - kept:
            unlink_if_there(self._path("blobs", name))

    # --- kept host keys

    def host_key(self, node: str) -> str:
        """The file of a node's private ssh host key."""
        return self._path("ssh", node)
