"""What servers, loaders and nodes read.

site.yaml ──> Site ──┬─ templates/ ──> build/configs/  dhcpd.conf, kea-dhcp4.json, …, hosts, tftp/
                     └─ hosts ───────> build/site.img  who the nodes are, as a second initrd
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache, partial

from .base.paths import OF_RELEASES, BuildPaths, templates_in
from .base.rule import Reads, Writes, rule
from .base.settings import build_paths, site
from .core.base.files import content, mirror, read, write_atomic
from .core.site.model import Site


@lru_cache(maxsize=None)
def templates_digest(folders: tuple[str, ...]) -> str:
    """What the templates hold that lie in folders of these."""
    digest = hashlib.sha256()
    for folder in templates_in(folders):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            held = read(path) if os.path.isfile(path) else b""  # what else is there is refused
            digest.update(os.fsencode(name) + b"\0" + held + b"\0")
    return digest.hexdigest()


def read_besides(wanted: Site, folders: tuple[str, ...]) -> str:
    """What templates hold, and the host keys that are kept, where some file has them."""
    if "ssh_known_hosts" not in wanted.outputs:
        return templates_digest(folders)
    from .core.node_secrets.of_site import readable_host_keys

    return templates_digest(folders) + repr(readable_host_keys(wanted))


def task_configs():
    """render the configuration files of DHCP, NFS and TFTP servers, of loaders, and hosts"""
    paths = build_paths()
    hosts, configs = paths.config("hosts"), paths.configs
    return rule(
        None,
        render,
        site(),
        paths,
        reads=Reads(given=partial(read_besides, site(), paths.folders)),
        writes=Writes([hosts], leaves=[configs], fills=(configs, OF_RELEASES)),
    )


def render(wanted: Site, paths: BuildPaths) -> list[str]:
    from .core.cluster.files import render_outputs

    earlier = partial(_earlier, paths)
    outputs = render_outputs(wanted, paths.templates, earlier)
    return mirror(paths.configs, rendered(wanted, paths.folders) | outputs, besides=OF_RELEASES)


def _earlier(paths: BuildPaths, path: str) -> bytes | None:
    """A generated file as an earlier build left it."""
    return content(paths.config(path))


@lru_cache(maxsize=None)
def rendered(wanted: Site, folders: tuple[str, ...]) -> dict[str, bytes]:
    """The generated files of a site that name no release: path below build/configs -> bytes."""
    from .core.config.render import render_configs

    return render_configs(wanted, templates_in(folders))


def task_site_image():
    """pack who the nodes are into build/site.img; build/hooks.img is for releases of before"""
    paths = build_paths()
    return rule(
        None,
        pack,
        site(),
        paths,
        reads=Reads([paths.config("hosts"), *templates_of_nodes(site())]),
        writes=Writes([paths.site_img, paths.hooks_img]),
    )


def pack(wanted: Site, paths: BuildPaths) -> None:
    from .core.config.site_image import site_image
    from .core.config.site_image import site_img as packed
    from .core.initrd.distribution import hooks_img

    read_here = partial(_read_here, paths.folders)
    files = site_image(wanted, read(paths.config("hosts")), read_here)
    write_atomic(paths.site_img, packed(files))
    write_atomic(paths.hooks_img, hooks_img())


def look_at_node_files(wanted: Site, folders: tuple[str, ...]) -> None:
    """Raises BadInput with what is wrong in the templates of files that nodes fill."""
    from .core.config.site_image import node_templates

    node_templates(wanted.images, partial(_read_here, folders))


def templates_of_nodes(wanted: Site) -> list[str]:
    """The templates of files that nodes fill."""
    found = [pair for image in wanted.images for pair in image.node_files]
    return sorted({path for _, path in found})


def _read_here(folders: tuple[str, ...], path: str) -> bytes:
    """A template. Raises BadInput where it leads out of the site: all nodes get what is in it."""
    from .core.base.overlays import refuse_outside

    refuse_outside(path, folders)
    return read(path)
