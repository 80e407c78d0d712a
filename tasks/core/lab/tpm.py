"""A node's TPM: swtpm's, whose state outlives the machine that it is in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

from ..base.errors import Refused
from ..base.programs import find_program


@contextlib.contextmanager
def serve_tpm(folder: str, *words: str) -> Iterator[str]:
    """The control socket of a TPM with that state, for a machine; `words`: what else it is told.

    It ends with this process. Raises Refused where it does not start.
    """
    program = find_program("swtpm")
    if program is None:
        raise Refused("no swtpm, a virtual machine's TPM: install swtpm")
    os.makedirs(folder, exist_ok=True)
    control = os.path.join(folder, "tpm.ctrl")
    until_we_end = ["setpriv", "--pdeathsig", "KILL"]
    argv = [program, "socket", "--tpm2", "--tpmstate", f"dir={folder}"]
    argv += ["--ctrl", f"type=unixio,path={control}", *words]
    with subprocess.Popen([*until_we_end, *argv], stderr=subprocess.DEVNULL) as process:
        try:
            while not os.path.exists(control):
                if process.poll() is not None:
                    raise Refused(f"swtpm does not start with its state in {folder}")
                time.sleep(0.05)
            yield control
        finally:
            process.terminate()
