"""The files that `outputs:` chose, made of their templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..config.render import site_view
from ..config.templates import (
    TEMPLATES,
    ClusterNode,
    View,
    plain_values,
    render_template,
    template_environment,
)
from ..outputs import CLUSTER
from ..services.serial import continued
from ..site.model import Site
from . import programs
from .view import NamesBy, cluster_nodes, names_by
from .zones import zones_of


def render_outputs(
    site: Site,
    templates: Iterable[str] = (TEMPLATES,),
    earlier: Callable[[str], bytes | None] = lambda path: None,
) -> dict[str, bytes]:
    """Every file that the site's outputs are: path below build/configs -> bytes.

    `earlier` gives what was generated before: a zone's serial grows where its records change.
    """
    if not site.outputs:
        return {}
    environment = template_environment(tuple(templates))
    files = {}
    for name, template, view in _views(site):
        path = f"{CLUSTER}/{name}"
        data = render_template(environment, template, view)
        files[path] = continued(data, earlier(path))
    return files


def view_of_outputs(site: Site) -> View:
    """What templates of outputs see besides what those of servers see; each's own by its word."""
    nodes = cluster_nodes(site)
    by = names_by(nodes)
    view: dict[str, Any] = {**_groups(by), "nodes": nodes}
    for word, make in OF_WORD.items():
        for _, _, own in make(site, nodes, by):
            if own:
                view[word] = own
    return view


def _groups(by: NamesBy) -> dict[str, Any]:
    return {"groups": by.group, "images": by.image}


def _views(site: Site) -> Iterator[tuple[str, str, View]]:
    """Name, template and view of each file. All that is in one is in `nodes`, or in every view."""
    nodes = cluster_nodes(site)
    plain_values({"nodes": nodes})
    by = names_by(nodes)
    shared = {**site_view(site), **_groups(by)}
    for word in site.outputs:
        for name, template, own in OF_WORD[word](site, nodes, by):
            members = {} if word in ROWS_OF_SERVERS else {"nodes": nodes}
            yield name, template, {**shared, **members, **own}


ROWS_OF_SERVERS = ("hosts", "dhcp_hosts")  # templates that go by what those of servers go by
Made = Iterator[tuple[str, str, dict[str, Any]]]


def _clustershell(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "groups.yaml", "groups.yaml", programs.clustershell_view(site.name, by)


def _genders(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "genders", "genders", programs.genders_view(nodes)


def _ansible(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "ansible.yaml", "ansible.yaml", programs.ansible_view(nodes, by)


def _slurm(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    view = programs.slurm_view(nodes, by)
    yield "slurm.conf", "slurm.conf", view
    yield "topology.conf", "topology.conf", view


def _prometheus(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "prometheus.json", "prometheus.json", programs.prometheus_view(site, nodes)


def _dns(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    for zone in zones_of(site):
        yield f"db.{zone.name}", "zone", {**zone._asdict(), "zone": zone.name}


def _conman(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "conman.conf", "conman.conf", {"bmcs": programs.bmcs(site)}


def _powerman(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "powerman.conf", "powerman.conf", {"devices": programs.powerman_devices(site)}


def _hosts(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "hosts", "hosts", {}


def _dhcp_hosts(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "dhcp_hosts.conf", "dhcp_hosts.conf", {}


def _dhcp6_hosts(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "dhcp6_hosts.json", "dhcp6_hosts.json", {"second": programs.second_addresses(site)}


def _ssh_known_hosts(site: Site, nodes: list[ClusterNode], by: NamesBy) -> Made:
    yield "ssh_known_hosts", "ssh_known_hosts", programs.known_hosts_view(site)


OF_WORD: dict[str, Callable[[Site, list[ClusterNode], NamesBy], Made]] = {
    "clustershell": _clustershell,
    "genders": _genders,
    "ansible": _ansible,
    "slurm": _slurm,
    "prometheus": _prometheus,
    "dns": _dns,
    "conman": _conman,
    "powerman": _powerman,
    "hosts": _hosts,
    "dhcp_hosts": _dhcp_hosts,
    "dhcp6_hosts": _dhcp6_hosts,
    "ssh_known_hosts": _ssh_known_hosts,
}
