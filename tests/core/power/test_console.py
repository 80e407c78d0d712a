"""Which way a console is, by what Redfish's SerialConsole says."""

from __future__ import annotations

import pytest

from tasks.core.power.console import other_ways

SSH = {"ServiceEnabled": True, "Port": 2200, "ConsoleEntryCommand": "start /system1/sol1"}
OFF = {"ServiceEnabled": False}


@pytest.mark.parametrize(
    ("said", "way"),
    [
        ({}, ""),
        ({"IPMI": {"ServiceEnabled": True}, "SSH": SSH}, ""),
        ({"IPMI": {}}, ""),
        (
            {"IPMI": OFF, "SSH": SSH},
            "by ssh alone: ssh -p 2200 admin@10.0.0.1, then start /system1/sol1",
        ),
        ({"SSH": {"ServiceEnabled": True}}, "by ssh alone: ssh -p 22 admin@10.0.0.1"),
        ({"IPMI": OFF, "Telnet": {"ServiceEnabled": True}}, "no IPMI console; it says Telnet"),
        ({"IPMI": OFF, "SSH": OFF}, "no IPMI console; it says that it has none"),
        ({"IPMI": "yes", "SSH": [1]}, "it says that it has none"),
    ],
)
def test_ipmi_is_tried_unless_the_bmc_says_otherwise(said: dict, way: str):
    found = other_ways(said, "10.0.0.1", "admin")
    assert found.endswith(way) and bool(found) == bool(way)
