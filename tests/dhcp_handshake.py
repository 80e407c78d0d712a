"""A real DHCP server of ours and a real client, in namespaces of their own; run by test_configs.py.

    dhcp_handshake.py FOLDER SERVER ADDRESS/PREFIX      inside UNSHARE; requests as JSON on stdin, answers on stdout

A request is {"mac", "options": [udhcpc's -x words], "client_id", "tries"}, or "reload", which lets the server take
the configuration FOLDER/next. An answer is what udhcpc gave its script, or null.
"""

from __future__ import annotations

import json
import os
import signal
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


def main(folder: str, name: str, address: str) -> None:
    network(address)
    sh("cp", "-r", folder, FOLDER)
    server = START[name]()
    answers = []
    for request in json.load(sys.stdin):
        if request == "reload":
            sh("cp", *[f"{FOLDER}/next/{file}" for file in os.listdir(f"{FOLDER}/next")], FOLDER)
            server = reload(name, server)
        else:
            answers.append(ask(**request))
    server.terminate()
    server.wait(10)
    json.dump(answers, sys.stdout)


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def network(address: str) -> None:
    """`srv0` here, `eth0` in the namespace `node`, a cable between them."""
    sh("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.makedirs("/run/netns")
    sh("ip", "netns", "add", "node")
    sh("ip", "link", "set", "lo", "up")
    sh(*["ip", "link", "add", "srv0", "type", "veth", "peer", "name", "eth0", "netns", "node"])
    sh("ip", "addr", "add", address, "dev", "srv0")
    sh("ip", "link", "set", "srv0", "up")
    with open("/run/script", "w") as script:
        script.write(SCRIPT)
    os.chmod("/run/script", 0o755)


def start(*argv: str, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **environ})


def dhcpd() -> subprocess.Popen[bytes]:
    open("/run/dhcpd.leases", "a").close()
    files = f"-cf {FOLDER}/dhcpd.conf -lf /run/dhcpd.leases -pf /run/dhcpd.pid".split()
    return start("dhcpd", "-4", "-f", "-d", *files, *["-user", "root", "-group", "root", "srv0"])


def kea() -> subprocess.Popen[bytes]:
    return start("kea-dhcp4", "-c", f"{FOLDER}/kea-dhcp4.json", KEA_PIDFILE_DIR="/run", KEA_LOCKFILE_DIR="/run")


def dnsmasq() -> subprocess.Popen[bytes]:
    return start(*f"dnsmasq -k -C {FOLDER}/dnsmasq.conf --user=root --pid-file=/run/dnsmasq.pid".split())


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


def ask(mac: str, options: list[str], client_id: str = "", tries: int = 8) -> dict[str, str] | None:
    """One handshake of a client with that card. A server that is just starting is asked again."""
    sh("ip", "-n", "node", "link", "set", "eth0", "down")
    sh("ip", "-n", "node", "link", "set", "eth0", "address", mac, "up")
    if os.path.exists("/run/answer"):
        os.unlink("/run/answer")
    words = [word for option in options for word in ("-x", option)] + (["-x", f"0x3d:{client_id}"] if client_id else [])
    client = f"ip netns exec node busybox udhcpc -i eth0 -n -q -f -t {tries} -T 1 -s /run/script".split()
    asked = ["-O", "rootpath", "-O", "hostname", "-O", "domain", "-O", "ntpsrv", "-O", "bootfile"]
    subprocess.run([*client, *asked, *words], stdout=sys.stderr, check=False)
    if not os.path.exists("/run/answer"):
        return None
    with open("/run/answer") as answer:
        return dict(line.rstrip("\n").split("=", 1) for line in answer if "=" in line)


if __name__ == "__main__":
    main(*sys.argv[1:])
