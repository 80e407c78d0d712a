"""Layers of a container's image, unpacked one over the other (OCI image-spec, layer.md).

`.wh.NAME` takes NAME of the layers below away, `.wh..wh..opq` all that they have in its folder, and
neither what its own layer brings, wherever it stands in that. What is no folder, and what takes the
place of something that is none, replaces it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from ..base.process import Say, Throttle
from .claims import Claims
from .tar import ArchiveTrouble, confined, extract_here, how_far, silent

_MARK, _OPAQUE = b".wh.", b".wh..wh..opq"


def unpack_layers(
    path: str, blobs: Iterable[str], folder: str, claims: str = "", say: Say = silent
) -> list[str]:
    """Unpack the layers at `blobs`, the lowest first, into an empty folder.

    `path` is what complaints are about; `claims` and `say` as `unpack` has them. Gives what could
    not be kept. Raises BadInput, Refused.
    """
    layers = [os.open(blob, os.O_RDONLY | os.O_CLOEXEC) for blob in blobs]
    try:
        waiting = partial(how_far, path, layers, Throttle(say))
        return confined(path, folder, partial(_apply, layers), claims, waiting)
    finally:
        for layer in layers:
            os.close(layer)


def _apply(layers: Iterable[int], names: list[bytes], noted: Claims | None) -> list[str]:
    told = []
    for layer in layers:
        for hidden in list(_hidden(layer)):
            _remove(hidden)
        os.lseek(layer, 0, os.SEEK_SET)
        told += extract_here(layer, names, noted, _replacing)[0]
    return told


def _hidden(layer: int) -> Iterator[bytes]:
    """What a layer takes away of those below it."""
    found: list[bytes] = []
    extract_here(layer, [], None, partial(_marks, found))
    for mark in found:
        folder, name = os.path.split(mark)
        if not os.path.isdir(folder or b"."):  # a link to a folder of below is one, too
            continue
        if name == _OPAQUE:
            yield from (os.path.join(folder, each) for each in os.listdir(folder or b"."))
        elif (hidden := name.removeprefix(_MARK)) not in (b"", b".", b".."):
            yield os.path.join(folder, hidden)


def _marks(found: list[bytes], entries: Iterable[Any]) -> list[Any]:
    """Note the marks, and unpack nothing."""
    for entry in entries:
        name = _path(entry)
        if os.path.basename(name).startswith(_MARK):
            found.append(name)
    return []


def _replacing(entries: Iterable[Any]) -> Iterator[Any]:
    """The entries but marks, each where nothing of another kind is in its place."""
    for entry in entries:
        name = _path(entry)
        if os.path.basename(name).startswith(_MARK):
            continue
        if name and not (entry.isdir and _is_folder(name)):
            _remove(name)
        yield entry


def _path(entry: Any) -> bytes:
    """A name below the root folder, "" for that itself."""
    from libarchive import ffi

    name: bytes = ffi.entry_pathname(entry._entry_p) or b""
    plain = os.path.normpath(name.lstrip(b"/") or b".")
    if plain.startswith(b"../") or plain == b"..":
        raise ArchiveTrouble(f"a name in it leads elsewhere: {name.decode(errors='replace')}")
    return b"" if plain == b"." else plain


def _is_folder(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(path: bytes) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
