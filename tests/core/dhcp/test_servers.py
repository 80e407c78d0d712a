"""DHCP servers: each is known whole, and by each of its words."""

from __future__ import annotations

import shutil

import pytest

from tasks.core.desired.daemons import desired_services
from tasks.core.dhcp.servers import BY_WORD, SERVERS
from tasks.core.services.services import Service
from tasks.core.site.model import Deploy, Network, Server, Site
from tests.support.commands import REPOSITORY


def services(dhcp: str) -> tuple[Service, ...]:
    configs = {server.source: server.source.encode() for server in SERVERS}
    site = Site("a", Network("10.1.0.0/24"), (), (), Deploy(dhcp=dhcp), "", tuple)
    return desired_services(site, Server("boot1", "10.1.0.1"), {**configs, "exports": b""})


def test_each_word_means_one_server_and_each_server_has_files_of_its_own():
    assert {server.name for server in BY_WORD.values()} == {"isc", "kea", "dnsmasq"}
    assert BY_WORD["isc"] is BY_WORD["dhcpd"]
    for field in ("program", "source", "path", "lease_files", "units", "complaint"):
        assert len({getattr(server, field) for server in SERVERS}) == len(SERVERS)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_a_site_may_call_a_server_by_either_word(server):
    by_name = services(server.name)
    assert by_name == services(server.daemon)
    assert (by_name[1].path, by_name[1].data) == (server.path, server.source.encode())


@pytest.mark.parametrize("word", ["isc", "dhcpd", "kea", "dnsmasq"])
def test_the_command_line_takes_every_word(doit, word):
    shutil.copy(REPOSITORY / "tests/golden/two-nodes/site.yaml", doit.site)
    assert "boot " in doit("list", f"dhcp={word}")


@pytest.mark.parametrize("word", ["udhcpd", "none", "kea-dhcp4"])
def test_a_server_that_there_is_not_is_refused_with_those_that_there_are(doit, word):
    told = doit("list", f"dhcp={word}", status=3)
    assert told == f"ERROR: dhcp={word}: one of isc, dhcpd, kea, dnsmasq\n"
