"""A boot storm in small: nodes that load at once from the real servers, beside what capacity's formula says of them.

Bytes are the kernel's own counts, and costs are processor time of the servers: a busy machine changes neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

from tasks.core import capacity
from tasks.core.lab.network import UNSHARE, Lab
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.load import CROWD, LISTS, READS, Job

FEW, MANY = 4, 16
TREE = 300  # files of the folder that is listed
BY = ("dhcpd", "dnsmasq")  # TFTP by tftpd-hpa, by dnsmasq
Found = dict[tuple[str, int], dict]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> pathlib.Path:
    """A small site, deployed, with a kernel and files of some megabytes."""
    doit = Doit(tmp_path_factory.mktemp("storm"))
    reference = sample_site.reference(doit.folder / "reference", TREE)
    kernel = next((reference / "boot").glob("vmlinuz-*"))
    kernel.write_bytes(kernel.read_bytes() + random.Random(1).randbytes(4_000_000))
    for number in range(2):
        sample_site.put(
            reference / f"usr/lib/program{number}", random.Random(number).randbytes(6_000_000)
        )
    sample_site.write(doit.site, reference)
    doit.site.write_text(doit.site.read_text() + "deploy: {http: nginx}\n")
    doit("deploy", f"destdir={doit.folder}/served")
    return doit.folder


@pytest.fixture(scope="module", params=BY)
def job(served: pathlib.Path, request) -> Job:
    (release,) = (
        path.name for path in (served / "served/opt/nfs_export").iterdir() if path.name[0] != "."
    )
    (site,) = (
        path.name
        for path in (served / "served/tftpboot").iterdir()
        if path.name.startswith("site-")
    )
    work = served / request.param
    work.mkdir()
    lab = Lab(
        "172.24.10.1",
        24,
        f"{served}/served",
        "/tftpboot",
        f"{served}/build/configs",
        request.param,
        str(work),
        http="/srv/http/plugnode",
    )
    root = f"/opt/nfs_export/{release}"
    return Job(
        lab, (FEW, MANY),
        ("plugnode/worker.cfg", f"{release}/vmlinuz", f"{release}/initrd.img", f"{site}/site.img"),
        tuple(f"{root}/usr/lib/program{number}" for number in range(2)), f"{root}/usr/share",
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(job: Job) -> Found:
    """What each phase of each storm moved and cost."""
    assert os.geteuid() == 0, "namespaces take root"
    path = pathlib.Path(job.lab.logs, "job.json")
    path.write_text(json.dumps(dataclasses.asdict(job)))
    argv = [*UNSHARE, sys.executable, "-m", "tests.support.load", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        print({name: value for name, value in line.items() if name != "took"})
    return {(line["phase"], line["nodes"]): line for line in lines}


def held(job: Job, paths: tuple[str, ...], below: str) -> list[list[int | str]]:
    """Size and digest of what the server has."""
    files = [pathlib.Path(job.lab.destdir + below, path.lstrip("/")).read_bytes() for path in paths]
    return [[len(data), hashlib.sha256(data).hexdigest()] for data in files]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_every_node_gets_every_file_whole(found: Found, job: Job, count: int):
    for phase, wanted in (
        ("tftp", held(job, job.tftp, "/tftpboot")),
        ("http", held(job, job.tftp, "/tftpboot")),
        ("nfs", held(job, job.nfs, "")),
    ):
        assert found[phase, count]["took"] == [wanted] * count


@pytest.mark.parametrize("count", [FEW, MANY])
def test_tftp_moves_the_bytes_that_its_blocks_predict(found: Found, job: Job, count: int):
    blocks = sum(size // 1468 + 1 for size, _ in held(job, job.tftp, "/tftpboot"))
    wire = sum(size for size, _ in held(job, job.tftp, "/tftpboot")) + blocks * 2 * (
        4 + 8 + 20 + 14
    )
    for moved in found["tftp", count]["bytes"]:  # a packet that is sent twice, ARP
        assert wire <= moved < 1.1 * wire


def test_every_request_is_answered_however_many_come_at_once(found: Found):
    """dnsmasq by itself serves 50 files at once, and says nothing to a node that comes after them."""
    assert found["crowd", 1]["took"] == [[[CROWD]]]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_http_moves_what_is_asked_for_and_little_more_and_is_counted(
    found: Found, job: Job, count: int
):
    asked = READS * sum(size for size, _ in held(job, job.tftp, "/tftpboot"))
    storm = found["http", count]
    for moved, counted in zip(storm["bytes"], storm["http"], strict=True):
        assert asked < moved < 1.1 * asked
        assert asked / 2 < counted <= moved  # by a reader that a busy machine lets miss some


@pytest.mark.parametrize("count", [FEW, MANY])
def test_nfs_moves_what_is_read_and_little_more(found: Found, job: Job, count: int):
    read = READS * sum(size for size, _ in held(job, job.nfs, ""))
    for moved in found["nfs", count]["bytes"]:
        assert read < moved < 1.15 * read


def test_a_node_makes_as_many_calls_among_many_as_among_few(found: Found):
    few, many = (found["calls", count]["calls"] for count in (FEW, MANY))
    assert min(few) > LISTS * TREE / 100  # each folder at least
    assert max(few + many) <= 1.3 * min(few + many)


@pytest.mark.parametrize("phase", ["tftp", "http", "nfs", "calls"])
def test_what_a_server_computes_grows_with_the_nodes_and_no_faster(
    found: Found, job: Job, phase: str
):
    if phase == "tftp" and job.lab.dhcp != "dnsmasq":
        return  # a process for each file, for which in.tftpd does not wait: what they took is nowhere to be read
    few, many = (max(found[phase, count]["cpu"], 0.02) for count in (FEW, MANY))
    assert MANY / FEW / 3 < many / few < MANY / FEW * 3


def test_the_formula_predicts_the_many_from_the_few(found: Found, job: Job):
    """With the costs that the few had, capacity's seconds of processors and its bytes are those of the many."""
    few, many = (
        {phase: found[phase, count] for phase in ("tftp", "http", "nfs", "calls")}
        for count in (FEW, MANY)
    )
    moved = {phase: sum(few[phase]["bytes"]) / capacity.MB for phase in few}
    by = capacity.assumptions(**{
        "tftp-cores": 1, "tftp-ms": max(few["tftp"]["cpu"], 0.01) / moved["tftp"] * 1e3,
        "http-cores": 1, "http-ms": max(few["http"]["cpu"], 0.01) / moved["http"] * 1e3,
        "nfs-cores": 1, "nfs-ms": few["nfs"]["cpu"] / moved["nfs"] * 1e3,
        "call-us": few["calls"]["cpu"] / sum(few["calls"]["calls"]) * 1e6,
    })  # fmt: skip
    print(by)
    node = capacity.BootCost(
        0, few["tftp"]["bytes"][0], few["nfs"]["bytes"][0], few["calls"]["calls"][0],
        few["http"]["bytes"][0],
    )  # fmt: skip
    tftp, http, nfs = capacity.storm(node, MANY, 1, by).phases
    assert sum(many["tftp"]["bytes"]) == pytest.approx(tftp.mb * capacity.MB, rel=0.1)
    assert sum(many["http"]["bytes"]) == pytest.approx(http.mb * capacity.MB, rel=0.1)
    assert http.processors / 3 < max(many["http"]["cpu"], 0.02) < max(http.processors, 0.02) * 3
    assert sum(many["nfs"]["bytes"]) == pytest.approx(nfs.mb * capacity.MB, rel=0.1)
    assert nfs.processors / 3 < many["nfs"]["cpu"] + many["calls"]["cpu"] < nfs.processors * 3
    if job.lab.dhcp == "dnsmasq":
        assert tftp.processors / 3 < many["tftp"]["cpu"] < tftp.processors * 3
