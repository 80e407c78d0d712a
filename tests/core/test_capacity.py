"""Capacity: the arithmetic of a boot storm, and the command that prints it. test_storm.py holds it against servers."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.base.errors import Refused
from tasks.core.capacity import (
    ACCEPTABLE_WAIT,
    ASSUMED,
    BootCost,
    assumptions,
    http_pays,
    servers_for,
    storm,
)
from tests.support.commands import Doit

NODE = BootCost(seconds=60, tftp=16_000_000, nfs=30_000_000, calls=4_000)
BOOTS = st.builds(
    BootCost,
    st.floats(0, 300),
    *[st.integers(1, 10**9)] * 2,
    st.integers(0, 10**5),
    st.integers(0, 10**9),
)
COSTS = st.fixed_dictionaries({each.name: st.floats(0.01, 100) for each in ASSUMED}).map(
    lambda by: assumptions(**by)
)
COUNTS = st.integers(1, 20_000)


def by_hand(nodes: int, wire: float, processors: float) -> float:
    return nodes * max(wire, processors)


def test_a_storm_of_a_thousand_nodes_as_one_reckons_it_by_hand():
    found = storm(NODE, 1_000, 1, assumptions())
    link = 10e9 * 0.94 / 8
    tftp = by_hand(1_000, 16e6 / link, 16 * 0.011)
    nfs = by_hand(1_000, 30e6 / link, (30 * 0.6e-3 + 4_000 * 170e-6) / 4)
    assert [phase.seconds for phase in found.phases] == [pytest.approx(tftp), pytest.approx(nfs)]
    assert found.seconds == pytest.approx(60 + tftp + nfs)


def test_what_is_scarce_is_named():
    fast, slow = assumptions(link=100), assumptions(**{"link": 1, "tftp-cores": 64})
    assert [phase.limit for phase in storm(NODE, 100, 1, fast).phases] == [
        "processors",
        "processors",
    ]
    assert [phase.limit for phase in storm(NODE, 100, 1, slow).phases] == ["link", "link"]


@given(BOOTS, COUNTS, COUNTS, COSTS)
def test_nodes_cost_time_and_servers_save_it(boot, nodes, servers, by):
    seconds = storm(boot, nodes, servers, by).seconds
    assert seconds >= boot.seconds
    assert (
        storm(boot, nodes + 1, servers, by).seconds
        >= seconds
        >= storm(boot, nodes, servers + 1, by).seconds
    )


@given(BOOTS, COUNTS, COSTS, st.floats(0, 10_000), st.sampled_from(["tftp", "http"]))
def test_the_servers_that_it_names_are_enough_and_one_less_is_not(boot, nodes, by, within, loads):
    try:
        count = servers_for(boot, nodes, within, by, loads)
    except Refused:
        assert storm(boot, 1, 1, by, loads).seconds > within
        return
    assert storm(boot, nodes, count, by, loads).seconds <= within
    assert count == 1 or storm(boot, nodes, count - 1, by, loads).seconds > within


def test_http_pays_where_the_last_node_waits_too_long_for_tftp():
    limit, by = http_pays(NODE, assumptions()), assumptions()
    assert (
        storm(NODE, limit, 1, by).phases[0].seconds
        <= ACCEPTABLE_WAIT
        < storm(NODE, limit + 1, 1, by).phases[0].seconds
    )


def test_what_comes_by_http_is_reckoned_with_its_own_cost_and_what_does_not_is_no_phase():
    boot = BootCost(60, tftp=0, nfs=0, calls=0, http=200_000_000)
    (phase,) = storm(boot, 1_000, 1, assumptions()).phases
    assert phase.name == "HTTP" and phase.mb == 200_000
    assert phase.seconds == pytest.approx(by_hand(1_000, 200e6 / (10e9 * 0.94 / 8), 0.2 * 0.2 / 4))
    moved = storm(NODE, 1_000, 1, assumptions(), "http").phases
    assert [(phase.name, phase.mb) for phase in moved] == [("HTTP", 16_000), ("NFS", 30_000)]


# --- the command


@pytest.fixture
def measured(built: Doit) -> Doit:
    (built.build / "boot").mkdir()
    seen = {
        "release": "worker-000000000001", "node": "wn001", "firmware": "bios", "dhcp": "dhcpd", "seconds": 75.5,
        "tftp_bytes": 16_000_000, "nfs_bytes": 30_000_000, "nfs_calls": 4_000, "stages": [],
    }  # fmt: skip
    (built.build / "boot/timings.json").write_text(json.dumps(seen))
    return built


def test_it_reckons_with_what_a_boot_measured(measured: Doit):
    out = measured("capacity", "--nodes=1000", "--tftp-cores=4")
    assert "wn001, worker-000000000001" in out
    assert "1,000 nodes at 1 server, 1,000 at one" in out
    one = "16.0 MB by TFTP, 0.0 MB by HTTP, 30.0 MB and 4,000 calls by NFS, 76 s alone"
    assert f"one node: {one}" in out
    assert re.search(r"^TFTP +16,000 +13\.6 +44\.0 +44\.0  limited by the processors$", out, re.M)
    assert re.search(r"^  --tftp-cores=4 .*\(given\)$", out, re.M)


def test_a_boot_whose_kernel_came_by_http_is_not_told_to_take_http(measured: Doit):
    path = measured.build / "boot/timings.json"
    seen = json.loads(path.read_text()) | {"tftp_bytes": 400_000, "http_bytes": 18_000_000}
    path.write_text(json.dumps(seen))
    out = measured("capacity", "--nodes=2000", "--within=600")
    assert re.search(r"^HTTP +36,000 +30\.6 +1\.8 +30\.6  limited by the link$", out, re.M)
    assert re.findall("kernel and initrd by (.*):", out) == ["HTTP"] and "HTTP pays" not in out


def test_without_words_it_is_about_the_sites_own_nodes_and_servers(measured: Doit):
    assert "2 nodes at 1 server, 2 at one" in measured("capacity")


def test_it_says_how_many_servers_a_target_takes(measured: Doit):
    out = measured("capacity", "--nodes=10000", "--within=300", "--alone=120")
    counts = {
        how: int(count)
        for how, count in re.findall(
            r"within 300 s, kernel and initrd by (\w+): (\d+) servers", out
        )
    }
    assert counts["TFTP"] > counts["HTTP"] > 1


def test_a_target_that_no_number_of_servers_meets_is_one_line(measured: Doit):
    out = measured("capacity", "--within=60", status=1)
    assert (
        "not within 60 s: one node that has a server for itself takes"
        in out.strip().splitlines()[-1]
    )


def test_without_a_measured_boot_it_estimates_and_says_so(built: Doit):
    out = built("capacity")
    assert (
        "an estimate from the sizes of what was built of worker; `./doit boot` measures it" in out
    )
    size = sum(
        (built.build / name).stat().st_size
        for name in ("worker/vmlinuz", "worker/initrd.img", "site.img")
    )
    assert f"one node: {size * 1.05 / 1e6:.1f} MB by TFTP" in out


def test_an_estimate_has_kernel_and_initrd_by_http_where_ipxe_fetches_them(doit: Doit, reference):
    from tests.support import sample_site

    sample_site.write(doit.site, reference)
    text = doit.site.read_text().replace("initrd: {", "loader: ipxe\n    initrd: {")
    doit.site.write_text(text + "\ndeploy: {http: nginx}\n")
    doit()
    assert re.search(r"^one node: 0\.0 MB by TFTP, [1-9]", doit("capacity"), re.M)


def test_without_a_build_it_says_what_to_run(doit: Doit, reference):
    from tests.support import sample_site

    sample_site.write(doit.site, reference)
    out = doit("capacity", status=1)
    assert "no boot was measured: run ./doit boot, or ./doit for an estimate" in out


@pytest.mark.parametrize("word", ["--link=0", "--tftp-ms=-1"])
def test_what_cannot_be_is_one_line(built: Doit, word: str):
    assert f"{word.partition('=')[0]} must be more than 0" in built("capacity", word, status=1)


def test_the_image_of_most_nodes_is_the_one_that_is_reckoned_with(doit: Doit, reference):
    image = f"{{reference: {{path: {reference}}}, initrd: {{base: none}}}}"
    nodes = [
        f"  wn{n}: {{mac: 'ae:d6:90:bb:aa:0{n}', ip: 172.24.10.{n}0, image: {'few' if n < 3 else 'many'}}}\n"
        for n in range(1, 6)
    ]
    head = "site: two\nnetwork: {subnet: 172.24.10.0/24}\nservers: {boot1: {ip: 172.24.10.1}}\n"
    doit.site.write_text(
        f"{head}images:\n  few: {image}\n  many: {image}\nnodes:\n{''.join(nodes)}"
    )
    assert f"{doit.build}/many/vmlinuz is not there" in doit("capacity", status=1)
    assert f"{doit.build}/few/vmlinuz is not there" in doit("capacity", "image=few", status=1)
