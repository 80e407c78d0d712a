"""A real DHCP server of ours and a real client, in namespaces of their own; run by tests/core/config/test_render.py.

    dhcp_client.py FOLDER SERVER CABLE…     inside UNSHARE; requests as JSON on stdin, answers on stdout

A request is {"mac", "options": [udhcpc's -x words], "client_id", "tries", "cable"}, or "reload", which lets the server
take the configuration FOLDER/next, or "update", whose answer is the first dynamic update that came to DNS, in hex. An
answer is what udhcpc gave its script, or null. A cable, counted from 0, is one of

    ADDRESS/PREFIX               from the server, which has that address, to the client
    up:ADDRESS/PREFIX,ROUTER     from the server to a router with the address ROUTER
    relay:ADDRESS/PREFIX[,…]     from the router, a DHCP relay there (dhcrelay), to the client

Files of the server's admin lie in FOLDER too, and win: MAIN.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

UNSHARE = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child=KILL",
    "--propagation",
    "private",
    "--",
]
SCRIPT = '#!/bin/sh\n[ "$1" != bound ] || env >/run/answer\n'
FOLDER = "/run/config"  # of the server, on a tmpfs that nobody else sees
MAIN = {
    "dhcpd": "main-dhcpd.conf",
    "dnsmasq": "main-dnsmasq.conf",
}  # of a server that serves others, too


def shake(
    folder: object, server: str, requests: list, *addresses: str
) -> tuple[list[dict[str, str] | None], str]:
    """The answers of the server to the requests, and all that it said."""
    argv = [*UNSHARE, sys.executable, __file__, str(folder), server, *addresses]
    done = subprocess.run(
        argv, input=json.dumps(requests), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    return json.loads(done.stdout), done.stderr


def main(folder: str, name: str, *addresses: str) -> None:
    network(addresses)
    sh("cp", "-r", folder, FOLDER)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    names.settimeout(30)
    server = START[name]()
    answers = []
    for request in json.load(sys.stdin):
        if request == "reload":
            sh("cp", *[f"{FOLDER}/next/{file}" for file in os.listdir(f"{FOLDER}/next")], FOLDER)
            server = reload(name, server)
        elif request == "update":
            answers.append({"update": names.recv(4096).hex()})
        else:
            answers.append(ask(**request))
    server.terminate()
    server.wait(10)
    json.dump(answers, sys.stdout)


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def network(addresses: tuple[str, ...]) -> None:
    """`srv0`, … here or at the router, `eth0`, … in the namespace `node`: a cable each."""
    sh("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.makedirs("/run/netns")
    sh("ip", "netns", "add", "node")
    sh("ip", "link", "set", "lo", "up")
    for at, cable in enumerate(addresses):
        kind, _, words = cable.rpartition(":")
        CABLES[kind](at, *words.split(","))
    if downstream := [f"-id srv{at}" for at, cable in enumerate(addresses) if "relay:" in cable]:
        relay(" ".join(downstream), addresses)
    with open("/run/script", "w") as script:
        script.write(SCRIPT)
    os.chmod("/run/script", 0o755)


def to_client(at: int, address: str) -> None:
    sh(*f"ip link add srv{at} type veth peer name eth{at} netns node".split())
    sh(*f"ip addr add {address} dev srv{at}".split())
    sh(*f"ip link set srv{at} up".split())
    sh(*f"ip -n node link set eth{at} up".split())  # Kea takes only what has a link


def to_router(at: int, address: str, router: str) -> None:
    prefix = address.partition("/")[2]
    sh(*"ip netns add router".split())
    sh(*f"ip link add srv{at} type veth peer name uplink netns router".split())
    sh(*f"ip addr add {address} dev srv{at}".split())
    sh(*f"ip link set srv{at} up".split())
    sh(*f"ip -n router addr add {router}/{prefix} dev uplink".split())
    sh(*"ip -n router link set uplink up".split())
    sh(*"ip -n router link set lo up".split())
    sh(*f"ip route add default via {router}".split())
    sh(*"ip netns exec router busybox sysctl -qw net.ipv4.ip_forward=1".split())


def from_router(at: int, *addresses: str) -> None:
    sh(*f"ip -n router link add srv{at} type veth peer name eth{at} netns node".split())
    for address in addresses:
        sh(*f"ip -n router addr add {address} dev srv{at}".split())
    sh(*f"ip -n router link set srv{at} up".split())


CABLES = {"": to_client, "up": to_router, "relay": from_router}


def relay(downstream: str, cables: tuple[str, ...]) -> None:
    """The router's relay, which sends what it hears to the server."""
    (server,) = [cable[3:].partition("/")[0] for cable in cables if cable.startswith("up:")]
    start(*f"ip netns exec router dhcrelay -4 -a -d {downstream} -iu uplink {server}".split())


def start(*argv: str, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **environ}
    )


def config(name: str, ours: str) -> str:
    """The file that the server is started with: its admin's own, where there is one."""
    main = f"{FOLDER}/{MAIN[name]}"
    return main if os.path.exists(main) else f"{FOLDER}/{ours}"


def dhcpd() -> subprocess.Popen[bytes]:
    open("/run/dhcpd.leases", "a").close()
    files = f"-cf {config('dhcpd', 'dhcpd.conf')} -lf /run/dhcpd.leases -pf /run/dhcpd.pid".split()
    cards = [name for _, name in socket.if_nameindex() if name.startswith("srv")]
    return start("dhcpd", "-4", "-f", "-d", *files, *["-user", "root", "-group", "root"], *cards)


def kea() -> subprocess.Popen[bytes]:
    return start(
        "kea-dhcp4",
        "-c",
        f"{FOLDER}/kea-dhcp4.json",
        KEA_PIDFILE_DIR="/run",
        KEA_LOCKFILE_DIR="/run",
    )


def dnsmasq() -> subprocess.Popen[bytes]:
    file = config("dnsmasq", "dnsmasq.conf")
    return start(
        *f"dnsmasq -k -C {file} --log-facility=- --user=root --pid-file=/run/dnsmasq.pid".split()
    )


START = {"dhcpd": dhcpd, "kea": kea, "dnsmasq": dnsmasq}


def reload(name: str, server: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """As an admin would: Kea reads its file again, the others are started again."""
    if name == "kea":
        server.send_signal(signal.SIGHUP)
        time.sleep(3)
        return server
    server.terminate()
    server.wait(10)
    return START[name]()


def ask(
    mac: str, options: list[str], client_id: str = "", tries: int = 8, cable: int = 0
) -> dict[str, str] | None:
    """One handshake of a client with that card. A server that is just starting is asked again."""
    card = f"eth{cable}"
    sh("ip", "-n", "node", "link", "set", card, "down")
    sh("ip", "-n", "node", "link", "set", card, "address", mac, "up")
    if os.path.exists("/run/answer"):
        os.unlink("/run/answer")
    # a vendor class takes the place of udhcpc's own
    told = [("-V" if each.startswith("HTTPClient") else "-x", each) for each in options]
    words = [word for pair in told for word in pair] + (
        ["-x", f"0x3d:{client_id}"] if client_id else []
    )
    client = f"ip netns exec node busybox udhcpc -i {card} -n -q -f -t {tries} -T 1 -s /run/script".split()
    names = ("rootpath", "hostname", "domain", "ntpsrv", "bootfile", "mtu", "search", "60")
    asked = [word for name in names for word in ("-O", name)]
    subprocess.run([*client, *asked, *words], stdout=sys.stderr, check=False)
    if not os.path.exists("/run/answer"):
        return None
    with open("/run/answer") as answer:
        return dict(line.rstrip("\n").split("=", 1) for line in answer if "=" in line)


if __name__ == "__main__":
    main(*sys.argv[1:])
