"""Which zone a name stands in, where one domain lies inside another."""

from __future__ import annotations

from tasks.core.cluster.zones import zones_of
from tasks.core.site.load import read_site

SITE = """\
site: zones
networks:
  one: {subnet: 10.1.0.0/24, domain: grid.example.org}
  two: {subnet: 10.2.0.0/24, domain: r2.grid.example.org}
servers: {boot1: {ip: 10.1.0.1}}
images: {worker: {reference: {path: .}}}
nodes:
  wn1: {mac: "52:54:00:00:00:01", ip: 10.1.0.11, aliases: [ns, a.other.org, b.r2.grid.example.org]}
  wn2: {mac: "52:54:00:00:00:02", ip: 10.2.0.12}
"""


def test_a_name_stands_in_each_domain_that_it_ends_with_and_no_other(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    zones = {zone.name: zone for zone in zones_of(read_site(str(tmp_path / "site.yaml"), ())[0])}
    inner, outer = zones["r2.grid.example.org"], zones["grid.example.org"]
    assert {record[0] for record in inner.records} == {"b", "wn2"}
    assert {record[0] for record in outer.records} == {"boot1", "wn1", "ns", "b.r2"}
    assert outer.servers == ["boot1.grid.example.org."]


def test_every_name_that_an_address_leads_back_to_leads_there(tmp_path):
    text = SITE.replace(", domain: r2.grid.example.org", "")
    (tmp_path / "site.yaml").write_text(text.replace("ip: 10.2", "ip6: 2001:db8::12, ip: 10.2"))
    zones = {zone.name: zone for zone in zones_of(read_site(str(tmp_path / "site.yaml"), ())[0])}
    forward = zones["grid.example.org"].records
    assert ("wn2", "A", "10.2.0.12") in forward and ("wn2", "AAAA", "2001:db8::12") in forward
    names = {label for label, _, _ in forward}
    back = [
        data for name, zone in zones.items() if name.endswith(".arpa") for *_, data in zone.records
    ]
    assert {name.removesuffix(".grid.example.org.") for name in back} <= names


def test_an_address_leads_back_to_one_name_its_machine_s_own(tmp_path):
    more = "hosts: {puppet: 10.1.0.1, nas01: 10.1.0.9, nas: 10.1.0.9}\n"
    (tmp_path / "site.yaml").write_text(SITE + more)
    zones = {zone.name: zone for zone in zones_of(read_site(str(tmp_path / "site.yaml"), ())[0])}
    assert ("puppet", "A", "10.1.0.1") in zones["grid.example.org"].records
    records = zones["0.1.10.in-addr.arpa"].records
    names = {label: name for label, _, name in records}
    assert names["1"] == "boot1.grid.example.org."
    assert names["9"] == "nas01.grid.example.org."
    assert len(records) == len(names)
