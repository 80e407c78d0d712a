"""A boot server in namespaces of its own: real DHCP, TFTP and NFS on a bridge that leads nowhere.

`boot_server()` runs inside `UNSHARE`. Everything it starts ends with it, also on SIGKILL: the pid
namespace takes its processes along (pid_namespaces(7)), and the parent's death takes the namespace
(unshare(1), --kill-child).
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Iterator

from ..base.errors import Refused
from ..base.files import write_atomic
from ..base.programs import find_program
from ..dhcp.server import LabPlace
from ..dhcp.servers import BY_WORD
from ..site.model import Node, Server, Site

UNSHARE = "unshare --net --mount --pid --ipc --uts --fork --mount-proc --kill-child=KILL --".split()
BRIDGE = "br0"
RUN = "/run/plugnode-lab"
MIRROR = f"{RUN}/root"  # this machine's root with the deployed TFTP tree at its own path


@dataclass(frozen=True)
class Lab:
    """What the servers serve: the trees below `destdir`, by the generated files in `configs`."""

    address: str  # "172.24.10.1"
    prefix: int  # 24
    destdir: str
    tftp_root: str
    configs: str
    dhcp: str  # a word of dhcp/servers
    logs: str  # a folder
    taps: int = 1
    nfs: bool = True  # False: as if that server were down
    http: str = ""  # http_root, where HTTP is served
    nfs_server: str = ""  # ADDRESS:/PATH of another machine that serves the roots, which this plays
    gateway: str = ""  # the router on the way there
    # The file that keeps reports of boots, where they are heard: it is below destdir
    syslog: str = ""
    # "10.81.104.254": the nodes' router and DHCP relay, where the server has no address among them
    router: str = ""

    @property
    def nfs_address(self) -> str:
        """The address that roots are mounted from."""
        return self.nfs_server.partition(":")[0] or self.address


def router_of(site: Site, node: Node, server: Server) -> str:
    """The router between a node and its server; "" where that has an address in its network.

    Raises Refused where there is none.
    """
    own = site.network_of(node)
    if IPv4Address(server.address_in(own.name)) in IPv4Network(own.subnet):
        return ""
    if not own.gateway:
        raise Refused(f"{node.name} has no way to {server.name}: give {own.name} its gateway:")
    return own.gateway


class Daemons:
    """Servers at work, each with a log."""

    def __init__(self, logs: str):
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str, root: str | None = None, **environ: str) -> None:
        inside = ["chroot", root] if root else []
        write_atomic(self.log(name), b"")
        with open(self.log(name), "ab") as log:  # nginx opens it again
            self.running[name] = subprocess.Popen(
                [*inside, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environ},
            )

    def log(self, name: str) -> str:
        return os.path.join(self.logs, f"{name}.log")

    def dead(self) -> list[str]:
        return [name for name, process in self.running.items() if process.poll() is not None]


@contextlib.contextmanager
def boot_server(lab: Lab) -> Iterator[Daemons]:
    """The servers of `lab`, answering.

    Raises RuntimeError with a server's own words when one does not come up.
    """
    private_mounts()
    _network(lab)
    daemons = Daemons(lab.logs)
    if lab.router:
        _start_relay(lab, daemons)
    if lab.nfs:
        start_nfs(lab, daemons)
    if lab.http:
        _start_http(lab, daemons)
    if lab.syslog:
        _start_syslog(lab, daemons)
    _mirror_root(lab)
    _start_dhcp(lab, daemons)
    time.sleep(0.3)
    for name in daemons.dead():
        with open(daemons.log(name), errors="replace") as log:
            raise RuntimeError(f"{name} ended at once: {log.read()[-1500:]}")
    threading.Thread(target=_answer_router_solicitations, daemon=True).start()
    try:
        yield daemons
    finally:
        for process in daemons.running.values():
            process.terminate()


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


NEEDED_FOLDERS = (
    RUN,
    f"{RUN}/recovery",
    "/run/ganesha",
    "/run/rpcbind",
    "/run/kea",
    "/run/lock/kea",
)


def private_mounts() -> None:
    sh("mount", "-t", "tmpfs", "none", "/run")  # rpcbind's socket, pid files: not the machine's
    sh("mount", "-t", "sysfs", "none", "/sys")  # the old one shows the machine's interfaces
    for path in NEEDED_FOLDERS:
        os.makedirs(path)


def _network(lab: Lab) -> None:
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    if not lab.router:
        sh("ip", "addr", "add", f"{lab.address}/{lab.prefix}", "dev", BRIDGE)
    if lab.nfs_server:
        for address in filter(None, {lab.nfs_address, lab.gateway}):
            sh("ip", "addr", "add", f"{address}/32", "dev", BRIDGE)
    sh("ip", "link", "set", BRIDGE, "up")
    # A bridge runs once a port does, and Kea listens on none that does not: here is one at once
    sh("ip", "link", "add", "port", "type", "veth", "peer", "name", "end")
    sh("ip", "link", "set", "port", "master", BRIDGE, "up")
    sh("ip", "link", "set", "end", "arp", "off", "up")  # or nodes take it for the server's card
    for number in range(lab.taps):
        _add_tap(f"tap{number}")


def _add_tap(tap: str) -> None:
    """A virtual machine's card on the bridge."""
    sh("ip", "tuntap", "add", "dev", tap, "mode", "tap")
    sh("ip", "link", "set", tap, "master", BRIDGE, "up")


UPLINK = "up0"  # the server's card, where a router is between it and the nodes
UPLINKS = ("169.254.255.1", "169.254.255.2")  # the server's and the router's address there
ROUTER = f"""
mkdir -p /run/netns && ip netns add router
ip link add {UPLINK} type veth peer name uplink netns router
ip link add wire type veth peer name nodes netns router
ip link set wire master {BRIDGE} up
ip addr add $server/32 dev {UPLINK} && ip addr add {UPLINKS[0]}/30 dev {UPLINK}
ip link set {UPLINK} up
ip -n router addr add {UPLINKS[1]}/30 dev uplink && ip -n router addr add $router/$prefix dev nodes
for card in lo uplink nodes; do ip -n router link set $card up; done
ip -n router route add $server via {UPLINKS[0]}
ip route add default via {UPLINKS[1]} src $server
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
"""


def _start_relay(lab: Lab, daemons: Daemons) -> None:
    """A router in a namespace of its own, and the DHCP relay on it."""
    values = {"server": lab.address, "router": lab.router, "prefix": str(lab.prefix)}
    subprocess.run(["sh", "-euc", ROUTER], check=True, env={**os.environ, **values})
    relay = f"dhcrelay -4 -d -id nodes -iu uplink {lab.address}"
    daemons.start("relay", *f"ip netns exec router {relay}".split())


def _mirror_root(lab: Lab) -> None:
    """Show the machine's root at MIRROR, with the deployed TFTP tree where the files say it is."""
    os.mkdir(MIRROR)
    sh("mount", "-t", "tmpfs", "none", MIRROR)
    _mirror("/", MIRROR, lab.tftp_root.strip("/").split("/"))
    sh("mount", "--bind", lab.destdir + lab.tftp_root, MIRROR + lab.tftp_root)


def _mirror(source: str, target: str, hole: list[str]) -> None:
    """Bind every name of `source` into `target`, but make the folders of `hole` anew."""
    names = os.listdir(source) if os.path.isdir(source) else []
    for name in names:
        original = os.path.join(source, name)
        shown = os.path.join(target, name)
        if os.path.islink(original):
            os.symlink(os.readlink(original), shown)
        elif os.path.isdir(original) and name not in hole[:1]:
            os.mkdir(shown)
            sh("mount", "--rbind", original, shown)
    if hole:
        name, *deeper = hole
        shown = os.path.join(target, name)
        os.makedirs(shown)
        _mirror(os.path.join(source, name), shown, deeper)


def _config(lab: Lab, name: str) -> str:
    return os.path.abspath(os.path.join(lab.configs, name))


def _start_tftpd(lab: Lab, daemons: Daemons) -> None:
    words = f"-L -4 -s -v -v -a {lab.address}:69 -u nobody".split()
    daemons.start("tftpd", "in.tftpd", *words, lab.destdir + lab.tftp_root)


def _start_dhcp(lab: Lab, daemons: Daemons) -> None:
    server = BY_WORD[lab.dhcp]
    if not server.serves_tftp:
        _start_tftpd(lab, daemons)
    place = LabPlace(_config(lab, server.source), RUN, UPLINK if lab.router else BRIDGE)
    start = server.lab_start(place)
    root = MIRROR if start.sees_tftp_root else None
    daemons.start(server.daemon, *start.argv, root=root, **start.environ)


EXPORT = re.compile(r"^(/\S+) [^ (]+\(([^)]*)\)$", re.M)  # a line of exports(5), as generated
GANESHA = """\
NFS_CORE_PARAM {{
  Protocols = 3,4; Bind_addr = {address}; NFS_Port = 2049; MNT_Port = 20048;
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
  mount_path_pseudo = true; Plugins_Dir = "{plugins}"; {more}
}}
NFSv4 {{
  Graceless = true; RecoveryBackend = fs; RecoveryRoot = "{run}/recovery";
  Only_Numeric_Owners = true;
}}
EXPORT {{
  Export_Id = 1; Path = "{folder}"; Pseudo = "{path}";
  Protocols = 3,4; Transports = TCP; SecType = sys;
  Access_Type = {access}; Squash = {squash}; Attr_Expiration_Time = 0;
  FSAL {{ Name = VFS; }}
}}
"""


# From this release on it ends where it may not become an I/O flusher, as in a container; before, it
# does not know the word
FLUSHES = 6
LET_FLUSH = "allow_set_io_flusher_fail = true;"


def start_nfs(lab: Lab, daemons: Daemons) -> None:
    """Start nfs-ganesha: the kernel's server would be the machine's own."""
    with open(f"{RUN}/ganesha.conf", "w") as file:
        file.write(_ganesha_config(lab))
    daemons.start("rpcbind", "rpcbind", "-w", "-f", "-h", lab.nfs_address)
    wait_for(lab.nfs_address, 111)
    own_log = os.path.join(lab.logs, "ganesha-own.log")
    files = ["-f", f"{RUN}/ganesha.conf", "-p", f"{RUN}/ganesha.pid", "-L", own_log]
    daemons.start("ganesha", "ganesha.nfsd", "-F", *files, "-N", "NIV_EVENT")
    wait_for(lab.nfs_address, 2049)


def _ganesha_config(lab: Lab) -> str:
    """What the generated `exports` says, in the words of nfs-ganesha."""
    with open(_config(lab, "exports")) as file:
        path, options = EXPORT.findall(file.read())[0]
    words = options.split(",")
    plugins = [*glob.glob("/usr/lib/*/ganesha"), "/usr/lib64/ganesha"]
    return GANESHA.format(
        address=lab.nfs_address,
        plugins=plugins[0],
        more=LET_FLUSH if _ganesha_release() >= FLUSHES else "",
        run=RUN,
        folder=os.path.abspath(lab.destdir + path),
        path=lab.nfs_server.partition(":")[2] or path,
        access="RO" if "ro" in words else "RW",
        squash="No_Root_Squash" if "no_root_squash" in words else "Root_Squash",
    )


def _ganesha_release() -> int:
    """7 of 7.0; 0 where it does not say."""
    said = subprocess.run(["ganesha.nfsd", "-v"], capture_output=True, text=True).stdout
    found = re.search(r"Release = V(\d+)", said)
    return int(found[1]) if found else 0


NGINX = """\
daemon off; user root; worker_processes 1; pid {run}/nginx.pid; error_log stderr;
events {{}}
http {{
{temporary}
  access_log /dev/stdout;
  include {run}/nginx-site.conf;
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _start_http(lab: Lab, daemons: Daemons) -> None:
    """Start nginx with the generated file, its folders below destdir."""
    with open(_config(lab, "nginx.conf")) as file:
        said = file.read()
    for folder in (lab.tftp_root, lab.http):
        said = said.replace(f"root {folder};", f"root {os.path.abspath(lab.destdir + folder)};")
    with open(f"{RUN}/nginx-site.conf", "w") as file:
        file.write(said)
    temporary = "\n".join(f"  {name}_temp_path {RUN}/{name};" for name in TEMPORARY)
    with open(f"{RUN}/nginx.conf", "w") as file:
        file.write(NGINX.format(run=RUN, temporary=temporary))
    program = find_program("nginx") or "nginx"
    daemons.start("nginx", program, "-c", f"{RUN}/nginx.conf", "-e", "stderr")
    wait_for(lab.address, 80)


def _start_syslog(lab: Lab, daemons: Daemons) -> None:
    """Start rsyslogd with the generated file, what it keeps below destdir."""
    with open(_config(lab, "rsyslog.conf")) as file:
        said = file.read()
    with open(f"{RUN}/rsyslog.conf", "w") as file:
        file.write(said.replace(lab.syslog, os.path.abspath(lab.destdir + lab.syslog)))
    program = find_program("rsyslogd") or "rsyslogd"
    files = ["-f", f"{RUN}/rsyslog.conf", "-i", f"{RUN}/rsyslogd.pid"]
    daemons.start("rsyslogd", program, "-n", *files)


def wait_for(address: str, port: int, seconds: float = 15) -> None:
    """Return once something listens there. Raises RuntimeError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {address} port {port}")


# RFC 4861: an advertisement of lifetime 0 routes nothing
ROUTER_SOLICITATION = b"\x85"
NO_ROUTER = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)


def _answer_router_solicitations() -> None:
    """Tell iPXE that there is no router: it asks for IPv6, too, and waits 16 s for the answer."""
    index = socket.if_nametoindex(BRIDGE)
    all_routers = socket.inet_pton(socket.AF_INET6, "ff02::2") + struct.pack("@I", index)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, BRIDGE.encode())
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, all_routers)
        while True:
            if raw.recv(2048)[:1] == ROUTER_SOLICITATION:
                with contextlib.suppress(OSError):
                    raw.sendto(NO_ROUTER, ("ff02::1", 0, 0, index))
