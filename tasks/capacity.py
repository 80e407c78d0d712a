"""Are the servers enough when all nodes are switched on at once?

build/boot/timings.json ──> capacity ──> seconds until all are booted, servers for a target
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from .base.console import say
from .base.paths import read_release
from .base.rule import command
from .base.settings import Run, this_run
from .core.base.errors import Refused
from .core.capacity import ASSUMED, BootCost, assumptions, capacity_text
from .core.base.text import human
from .core.site.model import DISK, FETCHED, RAM, Image
from .report import timings

# Of a worker of some years ago on metal; what it loads by TFTP is of what was built
USUAL = BootCost(seconds=60, tftp=0, nfs=45_000_000, calls=4_000)
FIRST = "`doit push --image` brings them a new release's before they boot it"
OWN: tuple[dict[str, Any], ...] = (
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
    return command(show, this_run, params=[*OWN, *known], knows="image")


class AskedCapacity(NamedTuple):
    """What `doit capacity` is asked: OWN's values."""

    nodes: int
    servers: int
    within: float
    alone: float


def show(run: Run, **said: Any) -> None:
    nodes, servers, within, alone = AskedCapacity(*(said.pop(option["name"]) for option in OWN))
    if min(nodes, servers, within, alone) < 0:
        raise Refused("--nodes, --servers, --within and --alone cannot be less than 0")
    by = assumptions(**{name.replace("_", "-"): value for name, value in said.items()})
    boot = one_boot(run)
    boot = boot._replace(seconds=alone or boot.seconds)
    for line in capacity_text(
        boot, nodes or len(run.site.nodes), servers or len(run.site.servers), by, within
    ):
        print(line)


def one_boot(run: Run) -> BootCost:
    """What `doit boot` measured; an estimate where it never ran here.

    Raises Refused where nothing was built either.
    """
    seen = timings(run.paths)
    if seen is None:
        return estimate(run)
    say(f"one node's boot as measured: {seen['node']}, {seen['release']}, as a virtual machine")
    measured = seen["seconds"], seen["tftp_bytes"], seen["nfs_bytes"], seen["nfs_calls"]
    return BootCost(*measured, fetched_bytes(run, seen))


def fetched_bytes(run: Run, seen: Mapping[str, Any]) -> int:
    """What the measured boot fetched by HTTP and others fetch, too.

    Where roots are kept on disks, all but the root: the virtual machine's disk was empty.
    """
    image = usual_image(run)
    if "http_bytes" not in seen:  # of an earlier version
        return root_file_bytes(run, image)
    kept = built_root_bytes(run, image) if image.root == DISK else 0
    return max(0, int(seen["http_bytes"]) - kept)


def usual_image(run: Run) -> Image:
    """The image that is asked about, else that of most nodes."""
    images = Counter(node.image for node in run.site.nodes)
    return run.site.image(run.settings.image or images.most_common(1)[0][0])


def root_file_bytes(run: Run, image: Image) -> int:
    """What a node fetches of its root, where it fetches it at each boot, and it was built."""
    size = built_root_bytes(run, image)
    return size if image.root == RAM else 0


def built_root_bytes(run: Run, image: Image) -> int:
    """The size of the root file of a fetched root, 0 where none was built."""
    path = run.paths.release(image)
    if image.root not in FETCHED or not os.path.exists(path):
        return 0
    size = read_release(path).root_bytes
    if image.root == DISK:
        say(f"nodes have the {human(size)} of their root on their disks; {FIRST}")
    return size


def estimate(run: Run) -> BootCost:
    """The sizes of what was built, and what systems usually read of their root."""
    image = usual_image(run)
    files = [run.paths.kernel(image), run.paths.initrd(image), run.paths.site_img]
    if missing := [path for path in files if not os.path.exists(path)]:
        lacking = f"{missing[0]} is not there, and no boot was measured"
        raise Refused(f"{lacking}: run ./doit boot, or ./doit for an estimate")
    say(f"an estimate from the sizes of what was built of {image.name}; `./doit boot` measures it")
    size = round(sum(map(os.path.getsize, files)) * 1.05)
    root = root_file_bytes(run, image)
    cost = USUAL._replace(tftp=size, http=root)
    loaders = {node.loader for node in run.site.nodes if node.image == image.name}
    if loaders == {"ipxe"} and run.site.deploy.http != "none":
        cost = cost._replace(tftp=0, http=size + root)
    return cost._replace(nfs=0, calls=0) if image.root in FETCHED else cost
