"""The goal: what a server is told that it must hold, as JSON.

What is large is not told; the server asks for it when it is read.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..base.files import digest_once
from ..plan.state import BuiltRelease, Desired, manifest_of_build
from ..release import HOOKS_IMG
from ..services.daemon_files import Service, is_el
from ..trust.signatures import Trusted

Said = Mapping[str, Any]  # a part of a goal

PARTS = {  # -> of Release
    "root.mtree": "root",
    "root.xattrs": "xattrs",
    "initrd.img": "initrd",
    HOOKS_IMG: "hooks",
    "vmlinuz": "kernel",
}


def pack_goal(
    desired: Desired,
    families: Mapping[bool, Iterable[Service]],
) -> dict[str, Any]:
    """A desired state as JSON, without the large files.

    `families`: daemons' files on EL (True) and elsewhere.
    """
    files = {name: data.decode() for name, data in desired.files.items()}
    loaders = {name: digest_once(path) for name, path in desired.loaders.items()}
    return {
        "releases": list(map(_pack_release, desired.releases)),
        "site_id": desired.site_id,
        "site_img": _text(desired.site_img),
        "hooks_img": _text(desired.hooks_img),
        "files": files,
        "loaders": loaders,
        "services": _pack_services(families),
        "nodes": dict(desired.nodes),
        "nfs_server": desired.nfs_server,
        "trust": _pack_trust(desired.trust),
        "archs": desired.archs,
    }


def _pack_services(families: Mapping[bool, Iterable[Service]]) -> dict[str, Any]:
    return {str(family): list(map(_pack_service, found)) for family, found in families.items()}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pack_trust(trust: Trusted) -> dict[str, Any]:
    signatures = {id: signature.decode() for id, signature in trust.signatures.items()}
    return {**trust._asdict(), "signatures": signatures}


def _unpack_trust(said: Said) -> Trusted:
    signatures = {id: text.encode() for id, text in said["signatures"].items()}
    return Trusted(**{**said, "signatures": signatures})


def _pack_service(service: Service) -> dict[str, Any]:
    return {**service._asdict(), "data": service.data.decode()}


def _pack_release(built: BuiltRelease) -> dict[str, Any]:
    paths_of: dict[int, list[str]] = {}
    for path, inode in manifest_of_build(built).inodes.items():
        paths_of.setdefault(inode, []).append(os.fsdecode(path))
    shared = [paths for paths in paths_of.values() if len(paths) > 1]
    return {
        "release": built.release._asdict(),
        "sizes": {name: built.size(name) for name in PARTS},
        "shared": sorted(shared),
    }


def unpack_goal(
    goal: Said,
    release: Callable[[Said], BuiltRelease],
    loaders: Callable[[Said], dict[str, str]],
) -> Desired:
    """What `pack_goal` made, on the server that it is of.

    `release`: of what is told of one; `loaders`: files with these digests, by name.
    """
    family = str(is_el())
    files = {name: text.encode() for name, text in goal["files"].items()}
    return Desired(
        releases=tuple(map(release, goal["releases"])),
        site_id=goal["site_id"],
        site_img=base64.b64decode(goal["site_img"]),
        hooks_img=base64.b64decode(goal["hooks_img"]),
        files=files,
        loaders=loaders(goal["loaders"]),
        services=tuple(map(_unpack_service, goal["services"][family])),
        nodes=goal["nodes"],
        nfs_server=goal["nfs_server"],
        trust=_unpack_trust(goal["trust"]),
        archs=tuple(goal["archs"]),
    )


def _unpack_service(said: Said) -> Service:
    values = {**said, "data": said["data"].encode()}
    for name, value in said.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return Service(**values)
