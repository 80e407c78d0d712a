"""A real Slurm on machines of a lan: its slurmctld at .254, a slurmd on each of some machines."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator

from tests.support.netns import WITH_US, Lan, Machine, run, until

CONF = """\
ClusterName=plugnode
SlurmctldHost={host}({network}.254)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
MpiDefault=none
ReturnToService=0
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmOf:
    def __init__(self, net: Lan, folder: pathlib.Path, machines: list[Machine]):
        self.net, self.conf = net, folder / "slurm.conf"
        nodes = "".join(f"NodeName={one.name} NodeAddr={one.address}\n" for one in machines)
        words = {"host": os.uname().nodename, "network": net.network, "nodes": nodes}
        self.conf.write_text(CONF.format(folder=folder, **words))

    def environment(self) -> dict[str, str]:
        return self.net.environment(SLURM_CONF=str(self.conf))

    def __call__(self, *words: object) -> str:
        return run(*self.net.inside(*words), env=self.environment(), cwd="/tmp")

    def state(self, node: str) -> str:
        """`idle`, `drained`, `draining`, `allocated` …, and the reason."""
        return self(
            "sinfo", "--noheader", "-N", "-n", node, "-O", "StateLong:20,Reason:200"
        ).strip()


@contextlib.contextmanager
def slurm(net: Lan, folder: pathlib.Path, machines: list[Machine]) -> Iterator[SlurmOf]:
    made = SlurmOf(net, folder, machines)
    commands = [net.inside("slurmctld", "-D", "-f", made.conf)]
    commands += [one.inside("slurmd", "-D", "-N", one.name, "-f", made.conf) for one in machines]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    daemons = [
        subprocess.Popen([*WITH_US, *argv], env=made.environment(), **quiet) for argv in commands
    ]
    try:
        until(lambda: "PING" in made("sh", "-c", "scontrol ping | sed 's/is UP/PING/' || :"))
        for one in machines:
            until(lambda name=one.name: made.state(name).startswith("idle"))
        yield made
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()
