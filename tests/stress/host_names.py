"""Ask setup.sh for the name of every address of a /16, of a hosts file that has them all.

    .venv/bin/python -m tests.stress.host_names [--every 1]

All 65,534 must be exact. Some minutes; `--every 10` asks for every tenth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.loop_disk import Node


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1)
    wanted = parser.parse_args()
    addresses = [f"10.1.{at >> 8}.{at & 255}" for at in range(1, 65535)]
    hosts = "".join(f"{address}\tn{address.replace('.', '-')}\n" for address in addresses)
    asked = addresses[:: wanted.every]
    with tempfile.TemporaryDirectory(prefix="plugnode-names-") as folder:
        found = Node(Path(folder)).names(hosts, asked)
    exact = sum(
        name == f"n{address.replace('.', '-')}" for name, address in zip(found, asked, strict=True)
    )
    print(f"{exact} of {len(asked)} exact")
    return int(exact != len(asked))


if __name__ == "__main__":
    sys.exit(main())
