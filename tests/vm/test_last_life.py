"""setup.sh on disks of a last life, in a virtual machine: what stands on them is real, and so is udev."""

from __future__ import annotations

import pytest

from tests.support import last_life
from tests.support.el5_site import CACHE

pytestmark = [pytest.mark.vm, pytest.mark.network, pytest.mark.timeout(3000)]
COMPLETE = ["state COMMITTED", "mounted /var ext4", "mounted /tmp ext4", "mounted /home ext4"]
IN_MEMORY = ["mounted /home tmpfs", "mounted /tmp tmpfs", "mounted /var tmpfs"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return last_life.boots(tmp_path_factory.mktemp("last-life"), last_life.root(CACHE))


def facts(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(words)]


def test_a_foreign_volume_group_that_udev_started_is_left_alone(said: dict[str, str]):
    told = said["a foreign group"]
    assert (
        "DEGRADED: /dev/vda is not touched, FOREIGN: it is in use: dm-" in told
        and "(centos-root)" in told
    )
    assert "the same bytes" in told and facts(told, "mounted") == IN_MEMORY
    assert (
        "disk /dev/vdc: 1024 MiB, serial SERVDC, virtio: linux_raid_member; wipe: force:SERVDC takes it"
        in told
    )


def test_it_is_taken_down_for_a_wipe_by_serial_number(said: dict[str, str]):
    told = said["the group by force"]
    assert "take down dm-" in told and sorted(facts(told, "state", "mounted")) == sorted(COMPLETE)
    assert "centos" not in "".join(facts(told, "volume")) and "the same bytes" in told
    own = said["the node's own"]
    assert sorted(facts(own, "state", "mounted")) == sorted(COMPLETE) and "format" not in own


def test_a_group_that_began_where_a_partition_of_ours_begins_does_not_come_back(
    said: dict[str, str],
):
    told = said["a ghost under the third partition"]
    assert sorted(facts(told, "state", "mounted")) == sorted(COMPLETE) and "DEGRADED" not in told
    assert "ghost" not in told


def test_a_group_on_an_array_is_taken_down_from_the_top(said: dict[str, str]):
    told = said["an array and a group by force"]
    assert told.index("take down dm-") < told.index("take down md")
    assert sorted(facts(told, "state", "mounted")) == sorted(COMPLETE) and "DEGRADED" not in told


def test_a_group_that_is_on_another_disk_too_stays_and_so_do_both_disks(said: dict[str, str]):
    told = said["a group of two disks by force"]
    assert "(wide-root) stands on vdd vde; it is left alone" in told and "DEGRADED" in told
    assert "the same bytes" in told and facts(told, "mounted") == IN_MEMORY
