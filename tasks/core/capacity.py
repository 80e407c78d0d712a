"""What a boot storm asks of the servers: the bytes of all nodes over what a server can do.

All nodes are switched on at once, spread evenly over the servers. FORMULA is an upper bound: no
node's firmware, DHCP and start of services, which are in `alone`, overlaps with another one's
loading, and the phases of two nodes never do. tests/system/test_storm.py holds it against real
servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .base.errors import Refused
from .base.text import counted

MB = 1_000_000
ACCEPTABLE_WAIT = 30  # seconds for TFTP, before a faster protocol is worth its trouble
LOADER = 4 * MB  # bytes: more than a boot loader has, less than a kernel
FORMULA = (
    "TFTP   = m · max(bytes / link, MB · tftp-ms / tftp-cores)",
    "HTTP   = m · max(bytes / link, MB · http-ms / http-cores)",
    "NFS    = m · max(bytes / link, (MB · nfs-ms + calls · call-us) / nfs-cores)",
    "booted = alone + TFTP + HTTP + NFS",
)


class BootCost(NamedTuple):
    """What one node loads, and how long it takes with the servers for itself."""

    seconds: float
    tftp: int  # bytes on the wire
    nfs: int  # bytes on the wire
    calls: int  # of NFS
    http: int = 0  # bytes on the wire: kernel and initrd, and a root that is fetched at each boot


class Assumed(NamedTuple):
    """A number that a site may know better: an option of `doit capacity`."""

    name: str
    value: float
    unit: str
    what: str
    source: str


ASSUMED = (
    Assumed("link", 10, "Gbit/s", "network of each server", "of which 94 % carry data"),
    Assumed(
        "tftp-cores",
        1,
        "",
        "processors of a server that serve TFTP",
        "dnsmasq is one thread; tftpd-hpa uses all",
    ),
    Assumed(
        "tftp-ms",
        11,
        "ms/MB",
        "of a processor, for TFTP",
        "measured 7 to 12 with blksize 1468, 30 with 512",
    ),
    Assumed("http-cores", 4, "", "processors of a server that serve HTTP", "as many as it has"),
    Assumed(
        "http-ms", 0.2, "ms/MB", "of a processor, for HTTP", "measured 0.1 to 0.3 with sendfile"
    ),
    Assumed(
        "nfs-cores",
        4,
        "",
        "processors of a server that serve NFS",
        "nfsd has a thread for every call at work",
    ),
    Assumed(
        "nfs-ms",
        0.6,
        "ms/MB",
        "of a processor, for reading by NFS",
        "measured 0.5 to 0.7, nfs-ganesha",
    ),
    Assumed(
        "call-us",
        170,
        "µs",
        "of a processor, for an NFS call",
        "measured 170 to 190, nfs-ganesha listing folders; most cost less",
    ),
)


def assumptions(**known: float) -> dict[str, float]:
    """Every assumption by name, those that are known replaced.

    Raises Refused for one that cannot be.
    """
    found = {each.name: known.get(each.name, each.value) for each in ASSUMED}
    if wrong := [name for name, value in found.items() if value <= 0]:
        raise Refused(f"--{wrong[0]} must be more than 0")
    return found


class Phase(NamedTuple):
    """All nodes of a server load one thing."""

    name: str
    mb: float  # of all of them together
    link: float  # seconds that the wire takes
    processors: float  # seconds that the server takes

    @property
    def seconds(self) -> float:
        return max(self.link, self.processors)

    @property
    def limit(self) -> str:
        return "link" if self.link >= self.processors else "processors"


class Storm(NamedTuple):
    nodes: int  # of the server that has most
    alone: float
    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        return self.alone + sum(phase.seconds for phase in self.phases)


def storm(
    boot: BootCost, nodes: int, servers: int, by: Mapping[str, float], loads: str = "tftp"
) -> Storm:
    """So many nodes at so many servers; kernel and initrd by `loads`, "tftp" or "http"."""
    most = -(-nodes // servers)
    if loads == "http":
        boot = boot._replace(tftp=0, http=boot.tftp + boot.http)
    phases = (
        _sent("tftp", most * boot.tftp, by),
        _sent("http", most * boot.http, by),
        _read(boot, most, by),
    )
    return Storm(most, boot.seconds, tuple(phase for phase in phases if phase.seconds))


def _wire(by: Mapping[str, float]) -> float:
    """Bytes a second."""
    return by["link"] * 0.94e9 / 8


def _sent(protocol: str, size: int, by: Mapping[str, float]) -> Phase:
    """So many bytes, to all nodes of a server, by "tftp" or "http"."""
    work = size / MB * by[f"{protocol}-ms"] / 1e3 / by[f"{protocol}-cores"]
    return Phase(protocol.upper(), size / MB, size / _wire(by), work)


def _read(boot: BootCost, nodes: int, by: Mapping[str, float]) -> Phase:
    """What all nodes of a server read by NFS."""
    read = boot.nfs / MB * by["nfs-ms"] / 1e3
    answer = boot.calls * by["call-us"] / 1e6
    size, work = nodes * boot.nfs, nodes * (read + answer) / by["nfs-cores"]
    return Phase("NFS", size / MB, size / _wire(by), work)


def servers_for(
    boot: BootCost, nodes: int, within: float, by: Mapping[str, float], loads: str = "tftp"
) -> int:
    """The fewest servers by which all nodes are up in time.

    Raises Refused where one node alone takes longer.
    """
    last = storm(boot, nodes, nodes, by, loads).seconds
    if last > within:
        raise Refused(
            f"not within {within:g} s: one node that has a server for itself takes {last:.0f} s"
        )
    low, high = 1, nodes  # `high` is always enough
    while low < high:
        middle = (low + high) // 2
        if storm(boot, nodes, middle, by, loads).seconds <= within:
            high = middle
        else:
            low = middle + 1
    return high


def http_pays(boot: BootCost, by: Mapping[str, float]) -> int:
    """Nodes of one server beyond which the last one waits longer than is acceptable for TFTP."""
    return int(ACCEPTABLE_WAIT / _sent("tftp", boot.tftp, by).seconds)


def loads_by_http(boot: BootCost) -> bool:
    """Whether kernel and initrd come by HTTP: what is left to TFTP is a loader and its files."""
    return boot.tftp < LOADER


# --- in words


def capacity_text(
    boot: BootCost, nodes: int, servers: int, by: Mapping[str, float], within: float = 0
) -> Iterator[str]:
    """Everything, line by line."""
    found = storm(boot, nodes, servers, by)
    spread = f"{counted(servers, 'server')}, {found.nodes:,} at one"
    yield f"{nodes:,} nodes at {spread}, switched on at once:"
    yield ""
    yield from capacity_table(found)
    yield ""
    if not loads_by_http(boot):
        yield from _http(boot, nodes, servers, by)
    if within:
        yield from _servers(boot, nodes, within, by)
    yield ""
    yield from formula(boot, by)


def capacity_table(found: Storm) -> Iterator[str]:
    """A storm, one line for each phase."""
    yield f"{'':<8} {'MB':>10} {'link s':>8} {'server s':>9} {'takes s':>8}"
    for phase in found.phases:
        took = f"{phase.link:8.1f} {phase.processors:9.1f} {phase.seconds:8.1f}"
        numbers = f"{phase.mb:10,.0f} {took}"
        yield f"{phase.name:<8} {numbers}  limited by the {phase.limit}"
    yield f"{'alone':<8} {'':>10} {'':>8} {'':>9} {found.alone:8.1f}  one node without the others"
    yield f"{'booted':<8} {'':>10} {'':>8} {'':>9} {found.seconds:8.1f}  all of them"


def _http(boot: BootCost, nodes: int, servers: int, by: Mapping[str, float]) -> Iterator[str]:
    limit = http_pays(boot, by)
    faster = storm(boot, nodes, servers, by, "http").seconds
    yield f"kernel and initrd by HTTP: {faster:.1f} s until all are booted"
    yield (
        f"HTTP pays beyond {limit:,} nodes at a server: there the last one waits"
        f" {ACCEPTABLE_WAIT} s for TFTP. Say"
    )
    yield "`deploy: {http: nginx}`, and `loader: ipxe` of the image (docs/capacity.md)"


def _servers(boot: BootCost, nodes: int, within: float, by: Mapping[str, float]) -> Iterator[str]:
    for loads in ("http",) if loads_by_http(boot) else ("tftp", "http"):
        count = servers_for(boot, nodes, within, by, loads)
        many = counted(count, "server")
        yield f"within {within:g} s, kernel and initrd by {loads.upper()}: {many}"


def formula(boot: BootCost, by: Mapping[str, float]) -> Iterator[str]:
    """How it is reckoned, and with what."""
    yield "m nodes of one server, an upper bound (no node's phases overlap with another's):"
    for line in FORMULA:
        yield f"  {line}"
    loaded = f"{boot.tftp / MB:.1f} MB by TFTP, {boot.http / MB:.1f} MB by HTTP"
    read = f"{boot.nfs / MB:.1f} MB and {boot.calls:,} calls by NFS"
    yield f"one node: {loaded}, {read}, {boot.seconds:.0f} s alone"
    for each in ASSUMED:
        value = f"--{each.name}={by[each.name]:g}"
        source = each.source if by[each.name] == each.value else "given"
        yield f"  {value:<16} {each.unit:<6}  {each.what} ({source})"
