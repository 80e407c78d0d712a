"""A reference that is a container's image: of a registry, by skopeo, or an OCI layout that is here.

Read by the OCI image-spec: an index names manifests, a manifest names layers, each by the sha256 of
its bytes, which is compared. Credentials are skopeo's own affair: it finds them where it always
does, and nothing of them is asked for, kept or said here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..base.errors import BadInput, Refused
from ..base.files import digest_file, read
from ..base.process import Program, Say
from ..base.programs import find_program
from ..unpack.layers import unpack_layers
from ..site.model import Image, Reference
from .kind import Facts, ReferenceKind, reference_and_arch, where
from .snapshot import Snapshot

_LARGEST = 1 << 22  # bytes of an index or a manifest
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
LACKS = {  # of a container's image -> what brings it
    "a kernel in /boot": ("boot/vmlinuz*", "linux-image-amd64 (EL: kernel-core, kernel-modules)"),
    "an init": ("sbin/init", "systemd-sysv (EL: systemd)"),
}


class _Name(NamedTuple):
    """What `oci:` says."""

    place: str  # a folder here, or a registry's name of the image
    tag: str
    digest: str  # "sha256:…", or "" where it is not pinned

    @property
    def is_here(self) -> bool:
        return self.place.startswith("/")


def parse_name(text: str) -> _Name:
    """`registry.example.org/wn:9.4`, `/srv/layout:tag`, each with `@sha256:…` behind it or not."""
    rest, _, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return _Name(f"{head}{slash}{name}", tag, digest)


def _take(image: Image, snapshot: Snapshot, say: Say) -> Facts | None:
    """Unpack the image; None where the snapshot is of that very one."""
    said = image.reference.where
    name = parse_name(said)
    with snapshot.scratch() as scratch:
        folder = name.place if name.is_here else _pulled(name, said, image.arch, scratch, say)
        layout = _Layout(said, folder, image.arch)
        digest = layout.manifest_digest(name)
        known = snapshot.facts()
        is_mine = ("claims" in known) == bool(os.geteuid())
        if known.get("digest") == digest and is_mine and os.path.isdir(snapshot.tree):
            return None
        say(f"{said}: unpacking {digest[:19]}")
        layers, tree = layout.layers(digest), snapshot.begin()
        for warning in unpack_layers(said, layers, tree, snapshot.claims, say):
            say(f"{said}: {warning}")
    _tell_lacking(said, snapshot.incoming, say)
    return {"digest": digest, **snapshot.claimed()}


def _pulled(name: _Name, said: str, arch: str, scratch: str, say: Say) -> str:
    """A layout with the image in it, of a registry."""
    source = f"docker://{name.place}"
    source += f"@{name.digest}" if name.digest else f":{name.tag or 'latest'}"
    chosen = ["--override-os=linux", f"--override-arch={arch}"]
    say(f"{said}: fetching by skopeo")
    to = os.path.join(scratch, "layout")
    _skopeo(said, [*chosen, "copy", "--quiet", source, f"oci:{to}:image"])
    return to


def _skopeo(said: str, words: list[str]) -> None:
    program = find_program("skopeo")
    if program is None:
        raise Refused(f"{said}: skopeo is not installed; apt install skopeo, dnf install skopeo")
    running = Program([program, *words])
    lines = [line for line in running.lines() if line.strip()]
    if running.status:
        last = lines[-1] if lines else f"exit status {running.status}"
        told = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
        why = told[1].replace('\\"', '"') if told else last
        raise Refused(f"{said}: skopeo: {why}")


class _Layout:
    """An OCI image layout: index.json, and blobs by their digests."""

    def __init__(self, said: str, folder: str, arch: str):
        self.said, self.folder, self.arch = said, folder, arch

    def manifest_digest(self, name: _Name) -> str:
        """The manifest of the image that `name` means, for Linux on its processors."""
        index = self._parsed(read_small(os.path.join(self.folder, "index.json"), self.said))
        found = _entries(index, "manifests")
        if name.is_here and name.digest:
            found = [{"digest": name.digest, **_named(found, name.digest)}]
        elif name.is_here and name.tag:
            found = [each for each in found if _tag_of(each) == name.tag]
        if len(found) > 1:
            found = list(filter(self._is_ours, found))
        if len(found) != 1:
            tags = ", ".join(sorted(filter(None, map(_tag_of, found)))) or "none with a tag"
            what = f"{len(found)} images are meant ({tags})"
            raise BadInput.at(self.said, f"{what}; name one: {self.folder}:TAG or @sha256:…")
        return self._of_platform(str(found[0].get("digest", "")))

    def _of_platform(self, digest: str) -> str:
        """The manifest that an index leads to, or that a digest is of already."""
        held = self._json(digest)
        if "layers" in held:
            return digest
        for each in _entries(held, "manifests"):
            if "platform" in each and self._is_ours(each):
                return self._of_platform(str(each.get("digest", "")))
        raise BadInput.at(self.said, f"has no image for linux/{self.arch}; build one for that")

    def _is_ours(self, entry: dict[str, Any]) -> bool:
        """Whether an index's entry is for Linux on these processors, or does not say for what."""
        platform = entry.get("platform")
        if not isinstance(platform, dict):
            return True
        return platform.get("os") == "linux" and platform.get("architecture") == self.arch

    def layers(self, digest: str) -> list[str]:
        """The files of a manifest's layers, each of the bytes that it names."""
        files = []
        for layer in _entries(self._json(digest), "layers"):
            path = self._blob(str(layer.get("digest", "")))
            if os.path.getsize(path) != layer.get("size"):
                raise BadInput.at(path, "is not of the size that its manifest names; copy it anew")
            if f"sha256:{digest_file(path)}" != layer["digest"]:
                raise BadInput.at(path, "is not what its name says; copy the layout anew")
            files.append(path)
        if not files:
            raise BadInput.at(self.said, "has no layers: there is nothing in it; build it anew")
        return files

    def _blob(self, digest: str) -> str:
        found = _SHA256.fullmatch(digest)
        if found is None:
            raise BadInput.at(self.said, f"names {digest[:80]!r}, which is no sha256; copy it anew")
        path = os.path.join(self.folder, "blobs", "sha256", found[1])
        if not os.path.isfile(path):
            raise BadInput.at(path, "is missing; copy the whole layout")
        return path

    def _json(self, digest: str) -> dict[str, Any]:
        path = self._blob(digest)
        data = read_small(path, self.said)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise BadInput.at(path, "is not what its name says; copy the layout anew")
        return self._parsed(data)

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise BadInput.at(self.said, "its index or manifest is no JSON; copy it anew")
        return found


def read_small(path: str, said: str) -> bytes:
    """A file of the layout's own. Raises BadInput."""
    try:
        if os.path.getsize(path) <= _LARGEST:
            return read(path)
    except NotADirectoryError:
        how = "skopeo copy oci-archive:FILE oci:FOLDER:TAG (of `docker save`: docker-archive:FILE)"
        raise BadInput.at(said, f"is a file, and no OCI layout; make one of it: {how}") from None
    except OSError as error:
        raise BadInput.at(said, f"is no OCI layout: {path}: {error.strerror}") from None
    raise BadInput.at(path, "is too large for an index or a manifest; copy the layout anew")


def _entries(held: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = held.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _named(entries: Iterable[dict[str, Any]], digest: str) -> dict[str, Any]:
    return next((each for each in entries if each.get("digest") == digest), {})


def _tag_of(entry: dict[str, Any]) -> str:
    notes = entry.get("annotations")
    found = notes.get("org.opencontainers.image.ref.name") if isinstance(notes, dict) else None
    return found if isinstance(found, str) else ""


def _tell_lacking(said: str, tree: str, say: Say) -> None:
    """Containers need neither a kernel nor an init; nodes do."""
    import glob

    for what, (pattern, packages) in LACKS.items():
        places = glob.glob(os.path.join(glob.escape(tree), pattern))
        if not any(map(os.path.lexists, places)):
            say(f"{said}: has not {what}, as most containers: add {packages} to what it is made of")


def _label(reference: Reference) -> str:
    name = parse_name(reference.where)
    return f"image {reference.where if not name.is_here else os.path.basename(reference.where)}"


def _files(reference: Reference) -> list[str]:
    """What tells that a layout that is here holds another image."""
    name = parse_name(reference.where)
    return [os.path.join(name.place, "index.json")] if name.is_here else []


KIND = ReferenceKind(
    "oci",
    describe=where,
    label=_label,
    take=_take,
    files=_files,
    identity=reference_and_arch,
)
