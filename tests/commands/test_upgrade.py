"""Nodes led to what they would boot. They are namespaces with a real sshd each; their `shutdown` is a script that boots."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import bmcs, sample_site
from tests.support.commands import Doit
from tests.support.netns import Lan, Machine, doit, doit_words, lan, run, until
from tests.support.slurm import slurm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: rolling
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.200, ssh: root@10.99.0.200}}}}
images: {{worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}}}
groups: {{rack3: {{}}}}
nodes:
{nodes}
management: {{protocol: ipmi, cipher: 3, user: admin, password: {{file: {password}}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
upgrade:
  drain: 'echo "$REASON" >{jobs}/drained.$NODE; ls {jobs} | grep -c drained >>{jobs}/away'
  idle: 'if test -e {jobs}/job.$NODE; then echo job 7 runs; exit 1; fi'
  undrain: rm {jobs}/drained.$NODE
"""
BMC = ", interfaces: {bmc: {ip: 10.99.0.104}}"
OLD = "worker-0123456789ab"
BOOT = "echo {release} >/run/plugnode/release"
DEGRADED = "; echo 'var: no disk' >/run/plugnode/degraded"


class Rack:
    """Four nodes that run an earlier release than the server has."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.site, self.jobs = net, folder / "site.yaml", folder / "jobs"
        self.jobs.mkdir()
        self.nodes = [net.machine(f"wn00{n}", n, known=False, own=("/run",)) for n in range(1, 5)]
        self.server = net.machine("boot1", 200, own=("/var/lib/nfs",))
        reference = sample_site.reference(folder / "reference", files=5)
        lines = [
            f"  wn00{n}: {{mac: 'ae:d6:90:bb:00:0{n}', ip: 10.99.0.{n}, groups: [rack3]{BMC * (n == 4)}}}\n"
            for n in range(1, 5)
        ]
        password = folder / "password"
        password.write_text(bmcs.PASSWORD)
        password.chmod(0o600)
        words = {
            "reference": reference,
            "jobs": self.jobs,
            "nodes": "".join(lines),
            "password": password,
        }
        self.site.write_text(SITE.format(**words))
        self("deploy")
        built = json.loads((folder / "build/worker/release.json").read_text())
        self.release = built["id"]

    def start(self, *words: str, **options):
        return doit(self.net, self.site, *words, **options)

    def __call__(self, *words: str, status: int = 0, **options) -> str:
        done = self.start(*words, **options)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status, f"exit status {done.returncode}\n{out}"
        assert "Traceback" not in out, out
        return out

    def old(self) -> None:
        for file in self.jobs.iterdir():
            file.unlink()
        for node in self.nodes:
            node.path("/run/plugnode").mkdir(exist_ok=True)
            node.path("/run/plugnode/release").write_text(f"{OLD}\n")
            node.path("/run/plugnode/degraded").unlink(missing_ok=True)
            node.path("/run/plugnode/upgrade").unlink(missing_ok=True)
            self.boots(node)

    def boots(self, node: Machine, more: str = "") -> None:
        node.shim("shutdown", BOOT.format(release=self.release) + more)

    def runs(self) -> list[str]:
        return [node.path("/run/plugnode/release").read_text().strip() for node in self.nodes]

    def drained(self) -> dict[str, str]:
        files = sorted(self.jobs.glob("drained.*"))
        return {file.suffix[1:]: file.read_text().strip() for file in files}


@pytest.fixture(scope="module")
def one_rack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rack")
    with lan(folder / "lan") as net:
        yield Rack(net, folder)


@pytest.fixture
def rack(one_rack: Rack) -> Rack:
    one_rack.old()
    return one_rack


def test_all_nodes_come_to_run_what_they_would_boot_so_many_at_a_time(rack: Rack):
    rack.nodes[3].path("/run/plugnode/release").write_text(f"{rack.release}\n")
    out = rack("upgrade", "node=@rack3", "--at-once=2", "--failed=2")
    assert f"wn[001-003]: runs {rack.release}\n" in out, out
    assert "to upgrade: 3 of 4 nodes" in out
    assert "wn[001-002]: rebooting (0 of 3 upgraded)" in out
    assert rack.runs() == [rack.release] * 4 and rack.drained() == {}
    assert set((rack.jobs / "away").read_text().split()) == {"1", "2"}
    assert "upgrade wn[001-003]: done" in rack("status")
    assert "to upgrade: 0 of 4 nodes" in rack("upgrade")
    assert "no changes" in rack("deploy"), "an upgrade is no work on the server"


def test_what_failed_stays_drained_with_the_reason_until_the_same_command_finds_it_well(rack: Rack):
    rack.boots(rack.nodes[0], DEGRADED)
    rack.nodes[1].shim("shutdown", ":")
    out = rack("upgrade", "--at-once=2", "--failed=2", "--boot-within=20s", status=1)
    degraded = f"runs {rack.release}, degraded: see /run/plugnode/degraded there"
    silent = f"not back in 20 seconds: it runs {OLD}"
    assert f"wn001: failed: {degraded}; it stays drained\n" in out, out
    assert f"wn002: failed: {silent}; it stays drained\n" in out, out
    assert rack.drained() == {"wn001": f"plugnode: {degraded}", "wn002": f"plugnode: {silent}"}
    journal = rack("status")
    assert ": failed: wn[001-002]" in journal and "did not end" not in journal, journal
    rack.nodes[0].path("/run/plugnode/degraded").unlink()
    rack.boots(rack.nodes[1])
    out = rack("upgrade", "--at-once=4")  # wn004 may have come to its turn before, or not
    assert "wn001: runs" in out or "wn[001-002" in out, out
    assert rack.runs() == [rack.release] * 4 and rack.drained() == {}, out


@pytest.fixture
def dead_line(rack: Rack) -> Iterator[Machine]:
    """A node that takes its network down in place of a reboot."""
    node = rack.nodes[0]
    node.shim("shutdown", "ip link set eth0 down")
    yield node
    run(*node.inside("ip", "link", "set", "eth0", "up"))


def test_of_one_that_does_not_answer_the_reason_is_said(rack: Rack, dead_line: Machine):
    why = "it does not answer(, as in the upgrade before)?: (No route to host|Connection timed out)"
    out = rack("upgrade", "node=wn001", "--boot-within=5s", status=1)
    assert re.search(f"wn001: failed: not back in 5 seconds: {why}; it stays drained\n", out), out
    assert re.search(f"{why}$", rack.drained()["wn001"])
    out = rack("upgrade", "node=wn001", status=1)
    assert re.search(f"wn001: failed: {why}; it stays drained\n", out), out


def test_what_does_not_reboot_is_cycled_by_its_bmc(rack: Rack, tmp_path: pathlib.Path):
    node = rack.nodes[3]
    node.shim("shutdown", ":")
    run(*rack.net.inside("ip", "addr", "add", "10.99.0.104/32", "dev", "br0"))
    sim = bmcs.IpmiSim(rack.net, tmp_path / "bmc", "10.99.0.104")
    (sim.folder / "power").write_text("1\n")
    sim.does(1, f"nsenter -t {node.pid} -m sh -c '{BOOT.format(release=rack.release)}'")
    with bmcs.stopped(sim):
        out = rack("upgrade", "node=wn004", "--boot-within=10s")
    late = f"wn004: not back in 10 seconds: it runs {OLD}: cycling its power"
    assert late in out and f"wn004: runs {rack.release}\n" in out, out
    assert sim.told() == ["0", "1"] and rack.drained() == {}


def test_interrupted_it_gives_back_what_it_had_not_rebooted(rack: Rack):
    (rack.jobs / "job.wn001").touch()
    at_work = rack.start("upgrade", "node=wn001")
    until(lambda: rack.drained())
    os.killpg(at_work.pid, signal.SIGINT)
    out = at_work.communicate(timeout=60)[0]
    assert at_work.returncode == 130 and "Traceback" not in out, out
    assert "wn001: left: not rebooted when it stopped" in out, out
    assert rack.drained() == {} and rack.runs()[0] == OLD
    assert not rack.nodes[0].path("/run/plugnode/upgrade").exists()


def test_a_terminal_that_goes_away_leaves_no_node_drained_that_was_not_rebooted(rack: Rack):
    """As of ssh whose line was cut, hours after it was begun."""
    (rack.jobs / "job.wn001").touch()
    ours, its = pty.openpty()
    argv = rack.net.inside(*doit_words(rack.site, "upgrade", "node=wn001"))
    ends = {"stdin": its, "stdout": its, "stderr": its, "env": rack.net.environment()}
    at_work = subprocess.Popen(["setsid", "--ctty", *map(str, argv)], **ends)
    os.close(its)
    until(lambda: rack.drained())
    os.close(ours)
    assert at_work.wait(timeout=60) == 130
    assert rack.drained() == {} and rack.runs()[0] == OLD
    assert not rack.nodes[0].path("/run/plugnode/upgrade").exists()


def test_of_two_admins_one_has_a_node(rack: Rack, tmp_path: pathlib.Path):
    (rack.jobs / "job.wn001").touch()
    at_work = rack.start("upgrade", "node=wn001")
    until(lambda: rack.drained())
    copy = tmp_path / "site.yaml"
    copy.write_text(rack.site.read_text())
    other = doit(rack.net, copy, "upgrade", "node=wn[001-002]")
    out = other.communicate(timeout=300)[0]
    assert other.returncode == 1 and f"wn002: runs {rack.release}\n" in out, out
    assert re.search(
        r"wn001: left: in the upgrade of \S+ on \S+, in /\S+, until that has ended", out
    ), out
    (rack.jobs / "job.wn001").unlink()
    assert f"wn001: runs {rack.release}\n" in at_work.communicate(timeout=300)[0]
    assert rack.drained() == {}


def test_with_no_drain_nobody_is_asked(rack: Rack):
    (rack.jobs / "job.wn001").touch()
    out = rack("upgrade", "node=wn001", "--no-drain")
    assert f"wn001: runs {rack.release}\n" in out and not (rack.jobs / "away").exists()


@pytest.fixture
def slurms(rack: Rack) -> Iterator[Rack]:
    """The same without commands of the site's own."""
    whole = rack.site.read_text()
    rack.site.write_text(whole[: whole.index("upgrade:")])
    yield rack
    rack.site.write_text(whole)


def test_slurm_drains_nodes_and_lets_their_jobs_end(slurms: Rack, tmp_path: pathlib.Path):
    slurms.boots(slurms.nodes[2], DEGRADED)
    with slurm(slurms.net, tmp_path, slurms.nodes) as real:
        real("sbatch", "-w", "wn001", "-o", "/dev/null", "--wrap", "sleep 9")
        real("sbatch", "-w", "wn002", "-o", "/dev/null", "--wrap", "sleep 900")
        real("scontrol", "update", "nodename=wn004", "state=drain", "reason=bad fan")
        until(lambda: all(real.state(name).startswith("alloc") for name in ("wn001", "wn002")))
        words = ("--at-once=4", "--failed=9", "--idle-within=20s")
        out = slurms("upgrade", *words, status=1, env=real.environment())
        # Slurm puts a * behind the state of a node that does not answer just now
        until(lambda: not any("*" in real.state(node.name) for node in slurms.nodes))
        states = [" ".join(real.state(node.name).split()) for node in slurms.nodes]
        degraded = f"runs {slurms.release}, degraded: see /run/plugnode/degraded there"
    assert f"wn001: runs {slurms.release}\n" in out, out
    assert "wn002: left: not idle in 20 seconds: allocated+drain\n" in out, out
    assert f"wn003: failed: {degraded}; it stays drained\n" in out, out
    assert "wn004: left: drained by somebody else: bad fan\n" in out, out
    # Slurm 24.11 goes on showing why a node was drained once
    assert [state.split()[0] for state in states[:2]] == ["idle", "allocated"]
    assert states[2:] == [f"drained plugnode: {degraded}", "drained bad fan"]
    assert slurms.runs() == [slurms.release, OLD, slurms.release, OLD]


def test_in_slurm_no_suspended_job_is_killed_and_what_an_admin_took_out_stays_out(
    slurms: Rack, tmp_path: pathlib.Path
):
    with slurm(slurms.net, tmp_path, slurms.nodes[:3]) as real:
        real("sbatch", "-w", "wn001", "-o", "/dev/null", "--wrap", "sleep 900")
        until(lambda: real.state("wn001").startswith("alloc"))
        real("scontrol", "suspend", "1")
        until(lambda: real.state("wn001").startswith("idle"))
        real("scontrol", "update", "nodename=wn002", "state=down", "reason=bad fan")
        real("scontrol", "update", "nodename=wn003", "state=fail", "reason=bad disk")
        words = ("--at-once=4", "--failed=9", "--idle-within=10s")
        out = slurms("upgrade", *words, status=1, env=real.environment())
        states = [real.state(f"wn00{n}").split() for n in (2, 3)]
        jobs = real("squeue", "--noheader", "--format=%N %T").split()
    assert "wn001: left: not idle in 10 seconds: it has a job that is suspended\n" in out, out
    assert "wn002: left: down in Slurm: bad fan\n" in out
    assert "wn003: left: set to fail by somebody else: bad disk\n" in out
    assert "wn004: left: Slurm does not know it; name others by node=\n" in out
    assert states == [["down", "bad", "fan"], ["fail", "bad", "disk"]], states
    assert jobs == ["wn001", "SUSPENDED"] and slurms.runs() == [OLD] * 4


def test_what_somebody_has_resumed_in_slurm_is_no_failure(slurms: Rack, tmp_path: pathlib.Path):
    slurms.boots(slurms.nodes[0], DEGRADED)
    with slurm(slurms.net, tmp_path, slurms.nodes[:1]) as real:
        given = {"env": real.environment()}
        assert "it stays drained" in slurms("upgrade", "node=wn001", status=1, **given)
        slurms.nodes[0].path("/run/plugnode/degraded").unlink()
        real("scontrol", "update", "nodename=wn001", "state=resume")
        out = slurms("upgrade", "node=wn001", **given)
    assert f"wn001: runs {slurms.release}\n" in out, out


def test_without_anybody_who_drains_it_is_refused_and_bad_bounds_are_bad_input(
    doit: Doit, reference: pathlib.Path
):
    sample_site.write(doit.site, reference)
    out = doit("upgrade", status=1, env={**os.environ, "PATH": "/nowhere"})
    assert (
        "nobody can drain nodes: Slurm's scontrol and squeue are not here, and the site has no"
        in out
    )
    out = doit("upgrade", "--at-once=0", "--boot-within=soon", status=3)
    assert f"{doit.site}:1:1: --at-once=0: not a number of nodes; write a whole number" in out
    assert f"{doit.site}:1:1: --boot-within=soon: not a time; write it as 90s, 30m" in out
