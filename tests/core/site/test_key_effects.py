"""Every key that a group or a node may have, changed alone, changes what servers or nodes are given.

But `management`, by which commands alone go (tests/commands/test_power.py).
"""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import pytest

from tasks.core.config import boot_files, render, site_image
from tasks.core.site import schema
from tasks.core.site.load import read_site

PARTITION = {"mount": "/var", "size": "5G", "fs": "ext4"}
DISK: dict[str, Any] = {
    "devices": ["/dev/sda"],
    "partitions": [PARTITION],
    "table": "gpt",
    "required": True,
}

# Of each key what it is changed to; where nothing else is said, it is not there before.
SHARED: dict[str, Any] = {
    "image": "gpu", "cmdline": "debug", "interface": "eno1", "server": "boot2", "wipe": "2026-01",
    "release": "worker-0123456789ab", "disk": {"required": False},
    "disks": [{"partitions": [PARTITION]}, {"devices": ["/dev/sdb"], "partitions": [{**PARTITION, "mount": "/home"}]}],
    "loader": "grub", "facts": {"rack": "3"},
}  # fmt: skip
OF_NODE: dict[str, Any] = {
    "mac": "ae:d6:90:bb:aa:99", "macs": ["ae:d6:90:bb:aa:99"], "ip": "172.24.10.199", "groups": ["mine", "other"],
    "aliases": ["gpu-a"],
    "interfaces": {"bmc": {"ip": "172.24.10.198"}}, "client_id": "slot-7", "circuit_id": "eth1/0/12",
    "guid": "0x0002c9030031117b", "guids": ["0x0002c9030031117b"], "ip6": "2001:db8::1",
}  # fmt: skip
OF_DISK: dict[str, Any] = {
    "devices": ["/dev/sdb"], "partitions": [{**PARTITION, "size": "6G"}], "table": "dos", "required": False,
    "match": {"size": "1G.."}, "raid": {"level": 1, "devices": 2},
}  # fmt: skip
OF_MATCH = {"size": "1G..2T", "serial": "S1", "id": "ata-*", "transport": "sata", "removable": True}
OF_PARTITION = {
    "mount": "/srv",
    "size": "rest",
    "fs": "xfs",
    "label": "mine",
    "fill": "/opt/full",
    "options": "noatime",
    "mode": "1777",
}


def site(place: str) -> dict:
    """A site of which a node, in a group of its own, says no more than it must."""
    image = {"reference": {"path": "/"}, "disk": DISK}
    node = {"mac": "ae:d6:90:bb:aa:01", "ip": "172.24.10.101", "groups": ["mine"]}
    said = {
        "site": "keys",
        "network": {"subnet": "172.24.10.0/24"},
        "servers": {"boot1": {"ip": "172.24.10.1"}, "boot2": {"ip": "172.24.10.2"}},
        "images": {"worker": image, "gpu": image},
        "groups": {"mine": {"server": "boot1", "image": "worker"}, "other": {}},
        "nodes": {
            "wn001": node,
            "wn002": {"mac": "ae:d6:90:bb:aa:02", "ip": "172.24.10.102", "image": "worker"},
        },
    }
    if place == "node":
        node |= said["groups"]["mine"]
    return said


def outputs(folder: pathlib.Path, said: dict) -> dict[str, bytes]:
    """All that is generated of a site but the files that name a release."""
    (folder / "site.yaml").write_text(json.dumps(said))
    found = read_site(str(folder / "site.yaml"), ())[0]
    files = render.render_configs(found)
    return files | site_image.site_image(found, files["hosts"])


def changed(folder: pathlib.Path, place: str, change: dict) -> set[str]:
    """The files that are others when one thing of a node, or of its group, is another."""
    before = site(place)
    after = copy.deepcopy(before)
    one = after["groups"]["mine"] if place == "group" else after["nodes"]["wn001"]
    if "macs" in change:
        del one["mac"]
    one.update(change)
    old, new = outputs(folder, before), outputs(folder, after)
    return {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def test_no_key_is_left_out():
    shared = {*SHARED, "management", "arch"}  # power, and what image it may have: bad_sites
    assert shared == schema.ROWS["Group"].keys()
    assert shared | OF_NODE.keys() == schema.ROWS["Node"].keys()
    assert OF_DISK.keys() == schema.ROWS["Disk"].keys()
    assert OF_INTERFACE.keys() == schema.ROWS["Interface"].keys()
    assert OF_MATCH.keys() == schema.ROWS["Match"].keys()
    assert OF_PARTITION.keys() == schema.ROWS["Partition"].keys()


@pytest.mark.parametrize("place", ["group", "node"])
@pytest.mark.parametrize("key", SHARED)
def test_a_key_of_a_group_or_node_alone_has_an_effect(tmp_path: pathlib.Path, place: str, key: str):
    assert changed(tmp_path, place, {key: SHARED[key]})


@pytest.mark.parametrize("place", ["group", "node"])
def test_newest_takes_back_the_pin_of_a_layer_below(tmp_path: pathlib.Path, place: str):
    held = site(place)
    held["images"]["worker"] = {**held["images"]["worker"], "release": "worker-0123456789ab"}
    ahead = copy.deepcopy(held)
    one = ahead["groups"]["mine"] if place == "group" else ahead["nodes"]["wn001"]
    one["release"] = "newest"
    names = []
    for said in (site(place), held, ahead):
        (tmp_path / "site.yaml").write_text(json.dumps(said))
        nodes = read_site(str(tmp_path / "site.yaml"), ())[0].nodes
        names.append([node.release for node in nodes])
    old = "worker-0123456789ab"
    assert names == [[None, None], [old, old], [None, old]]


@pytest.mark.parametrize("key", OF_NODE)
def test_a_key_of_a_node_alone_has_an_effect(tmp_path: pathlib.Path, key: str):
    assert changed(tmp_path, "node", {key: OF_NODE[key]})


OF_INTERFACE: dict[str, Any] = {
    "network": None, "ip": "172.24.10.197", "mac": "ae:d6:90:bb:aa:98", "macs": ["ae:d6:90:bb:aa:98"],
    "guid": "0x0002c9030031117b", "guids": ["0x0002c9030031117b"], "ip6": "2001:db8::2", "configure": True,
    "bond": {"mode": "802.3ad", "of": ["eth1"]},
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(OF_INTERFACE.keys() - {"network"}))
def test_a_key_of_an_interface_alone_has_an_effect(tmp_path: pathlib.Path, key: str):
    """`network` of one with an address says no more than that does; it is refused where it is another."""
    said = {"ip": "172.24.10.198"}
    before = site("node")
    before["nodes"]["wn001"]["interfaces"] = {"bmc": said}
    after = copy.deepcopy(before)
    after["nodes"]["wn001"]["interfaces"]["bmc"][key] = OF_INTERFACE[key]
    assert outputs(tmp_path, before) != outputs(tmp_path, after)


DISKS = {key: {key: value} for key, value in OF_DISK.items()}
DISKS |= {f"match.{key}": {"match": {key: value}} for key, value in OF_MATCH.items()}
DISKS |= {
    f"partitions.{key}": {"partitions": [{**PARTITION, key: value}]}
    for key, value in OF_PARTITION.items()
}


@pytest.mark.parametrize("key", DISKS)
def test_a_key_of_a_disk_alone_has_an_effect(tmp_path: pathlib.Path, key: str):
    change: dict[str, Any] = {"disk": DISKS[key]}
    end = ""
    if key == "raid":  # a set of several, with the devices for it
        change, end = {"disk": {**DISKS[key], "devices": ["/dev/sd?"]}}, "..1"
    assert f"plugnode/layouts/mine{end}" in changed(tmp_path, "group", change)
    assert f"plugnode/layouts/wn001{end}" in changed(tmp_path, "node", change)


def test_a_nodes_own_card_is_told_to_its_initrd_by_every_loader_and_the_image_s_is_not(
    tmp_path: pathlib.Path,
):
    said = site("group")
    said["groups"]["mine"] |= {"interface": "eno1", "cmdline": "debug"}
    said["images"]["gpu"] = {**said["images"]["gpu"], "interface": "ens3"}
    said["nodes"]["wn002"] |= {"image": "gpu", "interface": "ens3"}
    for number in (3, 4):
        said["nodes"][f"wn{number}"] = {
            "mac": f"ae:d6:90:bb:aa:0{number}",
            "ip": f"172.24.10.{number}",
            "image": "worker",
        }
    files = outputs(tmp_path, said)
    own = [files[f"tftp/{name}01-ae-d6-90-bb-aa-01"].decode() for name in boot_files.OF_NODE]
    assert all("debug plugnode.interface=eno1" in text for text in own), own
    assert not [path for path, data in files.items() if b"plugnode.interface=ens3" in data]
