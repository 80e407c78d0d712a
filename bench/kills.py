"""Deploys killed at random instants: after each, nodes are served the old or the new, whole, and a second run finishes.

.venv/bin/python bench/kills.py [COUNT]     200 of them; ends with a traceback where one is not
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "tests")]


def main(count: int) -> None:
    from test_deploy_faults import kill

    from tasks.core.targets import Targets

    with tempfile.TemporaryDirectory() as folder:
        ends = Counter(kill(pathlib.Path(folder), Targets("/tftpboot", "/opt/nfs_export", f"{folder}/dest"), count))
    print(f"{count} deploys killed; served after them: {', '.join(f'{n} {what}' for what, n in sorted(ends.items()))}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
