"""A node's TPM: swtpm's, whose state outlives the machine that it is in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.loop_disk import PARTS

MAKE = """
for part in common words memory node_key; do . "$PARTS/$part.sh"; done
make_tpm_key && fingerprint >/dev/null && node_key | age-keygen -y
"""


@contextlib.contextmanager
def serve(folder: Path, *words: str) -> Iterator[str]:
    """The control socket of a TPM with that state, for a virtual machine; `words`: what else swtpm is told."""
    folder.mkdir(exist_ok=True)
    control = folder / "tpm.ctrl"
    argv = [
        "swtpm",
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={folder}",
        "--ctrl",
        f"type=unixio,path={control}",
    ]
    with subprocess.Popen([*argv, *words], stderr=subprocess.DEVNULL) as process:
        try:
            while not control.exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield str(control)
        finally:
            process.terminate()


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
    with serve(folder, *words):
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
