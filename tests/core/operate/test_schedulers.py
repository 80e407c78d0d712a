"""What Slurm says of nodes, as scontrol prints it."""

from __future__ import annotations

import pytest

from tasks.core.operate.schedulers import slurm_nodes

LINE = (
    "NodeName=wn001 Arch=x86_64 CPUTot=1 NodeAddr=10.99.0.1 NodeHostName=wn001 "
    "OS=Linux 6.1 State={state} ThreadsPerCore=1 ExtSensorsTemp=n/s{reason}"
)
REASON = " Reason=plugnode: a (b) [root@2026-11-29T13:42:07]"


@pytest.mark.parametrize(
    ("state", "reason", "found"),
    [
        ("IDLE", "", (False, False, "")),
        ("ALLOCATED+DRAIN", REASON, (True, True, "plugnode: a (b)")),
        ("MIXED", "", (False, True, "")),
        ("IDLE+DRAIN", REASON, (True, False, "plugnode: a (b)")),
        ("IDLE+COMPLETING+DRAIN", REASON, (True, True, "plugnode: a (b)")),
        ("DOWN*+DRAIN", " Reason=Not responding [slurm@x]", (True, False, "Not responding")),
        ("IDLE+DRAIN+NOT_RESPONDING", REASON, (True, False, "plugnode: a (b)")),
        ("UNKNOWN", "", (False, True, "")),
    ],
)
def test_a_node_is_drained_or_has_jobs_by_its_state(state: str, reason: str, found: tuple):
    said = LINE.format(state=state, reason=reason) + "\nslurm_load_node error: Node gone\n"
    (node,) = slurm_nodes(said)
    assert (node.is_drained, node.has_jobs, node.reason) == found and node.name == "wn001"
