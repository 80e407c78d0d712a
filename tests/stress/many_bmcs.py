"""A thousand BMCs at once: switched and read back, some of them silent, slow, lying or talking nonsense.

    .venv/bin/python -m tests.stress.many_bmcs [--bmcs 1000] [--at-once 64]

Redfish of sushy-tools in a namespace, one address a BMC; five of each hundred have a fault. As root; needs no more than
this machine, but both sides of each TLS connection are on it: 1,000 took minutes on 2 busy cores.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import tempfile
import time

from tests.support import bmcs
from tests.support.bmcs import Redfish, stopped
from tests.support.netns import Lan, doit, lan, run

SITE = """\
site: many
networks: {{nodes: {{subnet: 10.98.0.0/16}}, bmc: {{subnet: 10.97.0.0/16}}}}
servers: {{boot1: {{ip: 10.98.255.1}}}}
images: {{worker: {{reference: {{path: /}}}}}}
management: {{protocol: redfish, user: admin, password: {{file: {folder}/password}}, verify: false}}
nodes:
  wn[0001-{last:04}]: {{ip: "{ips}", interfaces: {{bmc: {{ip: "{addresses}"}}}}}}
"""
FAULTS = {20: "silent", 40: "slow", 60: "lies", 80: "garbage", 99: "broken"}  # of each hundred


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bmcs", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    words = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="many-bmcs") as name,
        lan(pathlib.Path(name) / "lan") as net,
    ):
        campaign(net, pathlib.Path(name), words.bmcs, words.at_once)


def campaign(net: Lan, folder: pathlib.Path, count: int, at_once: int) -> None:
    run(*net.inside("ip", "addr", "add", "10.97.255.254/16", "dev", "lo"))
    addresses = [f"10.97.{n // 100}.{n % 100 + 1}" for n in range(count)]
    site = folder / "site.yaml"
    texts = {
        "folder": folder,
        "last": count,
        "ips": ranges("10.98", count),
        "addresses": ranges("10.97", count),
    }
    site.write_text(SITE.format(**texts))
    (folder / "password").write_text(bmcs.PASSWORD)
    (folder / "password").chmod(0o600)
    redfish = Redfish(net, folder / "redfish", addresses)
    with stopped(redfish):
        told(net, site, "status", at_once)
        redfish.faults(**{f"_{number}": fault for number, fault in FAULTS.items()})
        told(net, site, "on", at_once, "node=@*")
        redfish.faults()
        out = told(net, site, "status", at_once)
        lied = sum(
            number in FAULTS
            for number in (n % 100 + 1 for n in range(count))
            if FAULTS.get(number) != "slow"
        )
        assert f"{lied} are off" in counts(out), counts(out)


def ranges(network: str, count: int) -> str:
    whole, rest = divmod(count, 100)
    parts = [f"{network}.[0-{whole - 1}].[1-100]"] * bool(whole) + [
        f"{network}.{whole}.[1-{rest}]"
    ] * bool(rest)
    return ",".join(parts)


def counts(out: str) -> str:
    from tasks.core.base.nodeset import expand_nodes

    lines = [line.partition(": ") for line in out.splitlines() if line.startswith("wn")]
    return "; ".join(f"{len(expand_nodes(nodes))} are {what}" for nodes, _, what in lines)


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(net: Lan, site: pathlib.Path, word: str, at_once: int, *words: str) -> str:
    begun, cpu = time.monotonic(), cpu_of_children()
    done = doit(net, site, "power", word, f"--at-once={at_once}", *words)
    out = done.communicate()[0]
    assert "Traceback" not in out, out
    used = cpu_of_children() - cpu
    print(
        f"power {word}: {time.monotonic() - begun:.0f} s, {used:.0f} of CPU here, exit status {done.returncode}: {counts(out)}",
        flush=True,
    )
    return out


if __name__ == "__main__":
    main()
