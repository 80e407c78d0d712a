"""A node's TPM, with a key of the node's in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tasks.core.lab.tpm import serve_tpm
from tests.support.loop_disk import PARTS

MAKE = """
for part in common words memory node_key; do . "$PARTS/$part.sh"; done
make_tpm_key && fingerprint >/dev/null && node_key | age-keygen -y
"""


@contextlib.contextmanager
def reached(folder: Path) -> Iterator[dict[str, str]]:
    """How tpm2-tools reach it without a machine."""
    socket = folder / "tpm"
    words = [
        "--server",
        f"type=unixio,path={socket},disconnect=no",
        "--flags",
        "startup-clear,not-need-init",
    ]
    with serve_tpm(str(folder), *words):
        yield {"TPM2TOOLS_TCTI": f"swtpm:path={socket}"}


def provision(folder: Path) -> str:
    """Have a node's key in it, as its first boot would; its public half."""
    with reached(folder) as environ:
        seams = {
            "PARTS": str(PARTS),
            "DATA": str(folder),
            "WORK": str(folder),
            "OWN": str(folder / "none"),
            "VAR": "/none",
        }
        argv = ["sh", "-ec", MAKE]
        done = subprocess.run(
            argv,
            env={**os.environ, **environ, **seams, "ROOT": str(folder)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
