"""Are the servers enough when all nodes are switched on at once?

build/boot/timings.json ──> capacity ──> seconds until all are booted, servers for a target
"""

from __future__ import annotations

import os
from collections import Counter

from .base.console import say
from .base.paths import initrd_of, kernel_of, read_release, release_of, site_img
from .base.rule import command
from .base.settings import settings, site
from .core.base.errors import Refused
from .core.capacity import ASSUMED, BootCost, assumptions, capacity_text
from .core.site.model import Image
from .report import timings

USUAL = BootCost(
    60, 0, 45_000_000, 4_000
)  # of a worker of some years' ago's size on metal: seconds, NFS bytes and calls
OWN = (
    {
        "name": "nodes",
        "long": "nodes",
        "type": int,
        "default": 0,
        "help": "how many; by itself the site's",
    },
    {
        "name": "servers",
        "long": "servers",
        "type": int,
        "default": 0,
        "help": "how many; by itself the site's",
    },
    {
        "name": "within",
        "long": "within",
        "type": float,
        "default": 0.0,
        "help": "seconds: how many servers that takes",
    },
    {
        "name": "alone",
        "long": "alone",
        "type": float,
        "default": 0.0,
        "help": "seconds that one node takes to boot",
    },
)


def task_capacity():
    """reckon how long all nodes take to boot at once, and how many servers that takes"""
    known = [
        {
            "name": each.name.replace("-", "_"),
            "long": each.name,
            "type": float,
            "default": float(each.value),
            "help": f"{each.unit} {each.what}".strip(),
        }
        for each in ASSUMED
    ]
    return command(show, params=[*OWN, *known], knows="image")


def show(nodes: int, servers: int, within: float, alone: float, **known: float) -> None:
    if min(nodes, servers, within, alone) < 0:
        raise Refused("--nodes, --servers, --within and --alone cannot be less than 0")
    by = assumptions(**{name.replace("_", "-"): value for name, value in known.items()})
    boot = one_boot()
    boot = boot._replace(seconds=alone or boot.seconds)
    for line in capacity_text(
        boot, nodes or len(site().nodes), servers or len(site().servers), by, within
    ):
        print(line)


def one_boot() -> BootCost:
    """What `doit boot` measured; an estimate where it never ran here.

    Raises Refused where nothing was built either.
    """
    seen = timings()
    if seen is None:
        return estimate()
    say(f"one node's boot as measured: {seen['node']}, {seen['release']}, as a virtual machine")
    measured = seen["seconds"], seen["tftp_bytes"], seen["nfs_bytes"], seen["nfs_calls"]
    return BootCost(*measured, root_file_bytes(usual_image()))


def usual_image() -> Image:
    """The image that is asked about, else that of most nodes."""
    images = Counter(node.image for node in site().nodes)
    return site().image(settings().image or images.most_common(1)[0][0])


def root_file_bytes(image: Image) -> int:
    """What a node fetches of its root, where that is one file and was built."""
    return read_release(image).root_bytes if os.path.exists(release_of(image)) else 0


def estimate() -> BootCost:
    """The sizes of what was built, and what systems usually read of their root."""
    image = usual_image()
    files = [kernel_of(image), initrd_of(image), site_img()]
    if missing := [path for path in files if not os.path.exists(path)]:
        lacking = f"{missing[0]} is not there, and no boot was measured"
        raise Refused(f"{lacking}: run ./doit boot, or ./doit for an estimate")
    say(f"an estimate from the sizes of what was built of {image.name}; `./doit boot` measures it")
    tftp = round(sum(map(os.path.getsize, files)) * 1.05)
    return USUAL._replace(tftp=tftp, http=root_file_bytes(image))
