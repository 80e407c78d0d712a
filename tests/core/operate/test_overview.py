"""The cluster at one look: what needs somebody, and the page of it in a real browser, whatever its values hold."""

from __future__ import annotations

import json
import re

import pytest

from tasks.core.base.shapes import fit
from tasks.core.nodes.ask import Runs
from tasks.core.operate.metrics import Seen
from tasks.core.operate.overview import SHAPE, ClusterFacts, overview
from tasks.core.report.view import render_page
from tasks.core.services.boot_reports import BootReport
from tasks.core.site.model import Deploy, Image, Mac, Network, Node, Reference, Server, Site
from tests.support.browser import BACK, first_pixel, screenshot, width_in
from tests.support.commands import REPOSITORY

OLD, NEW = "worker-0123456789ab", "worker-ba9876543210"
HOSTILE = "<script>alert('x')</script>\"&\x1b[31m\u202e\udcff"  # markup, quotes, colour, turned around, no UTF-8
GIB = 1 << 30


def node(number: int) -> Node:
    mac = Mac(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}")
    return Node(
        f"wn{number:03}", mac, f"10.0.{number >> 8}.{number & 255}", "worker", groups=("rack1",)
    )


def site(count: int) -> Site:
    nodes = tuple(map(node, range(1, count + 1)))
    servers = (
        Server("boot1", "10.1.0.1"),
        Server("boot2", "10.1.0.2"),
        Server("boot3", "10.1.0.3"),
    )
    images = (Image("worker", Reference("path", "/r")),)
    return Site("grid", Network("10.0.0.0/8"), servers, images, Deploy(), "", lambda: nodes)


def release(id: str, arrived: float, unused: float) -> dict:
    facts = {
        "id": id,
        "image": "worker",
        "kernel": "6.1.0",
        "root": "nfs",
        "entries": 9,
        "bytes": GIB,
    }
    return {**facts, "named_by": None, "days_since_arrival": arrived, "days_since_use": unused}


def state(*wrong: str, used: int = 10) -> dict:
    return {
        "wrong": list(wrong), "current": {"worker": NEW}, "site": "site-000000000000", "pins": {"wn001": OLD},
        "releases": [release(OLD, 40, 3), release(NEW, 1.5, 0)],
        "disks": {"/srv": {"used": used * GIB, "free": 10 * GIB}}, "leases": {"nodes": [], "strangers": []},
        "journal": [{"time": "2026-11-28T09:12:33Z", "who": "alice", "action": "deploy", "result": "done"}],
    }  # fmt: skip


def boot(seconds: float, **more) -> BootReport:
    stages = {"kernel": 2.5, "root": seconds - 2.5}
    return BootReport("2026-11-29T14:02:10Z", True, seconds, NEW, stages, ())._replace(**more)


def facts(count: int = 6, word: str = "no disk") -> ClusterFacts:
    """Of these nodes wn002 is degraded, wn003 runs the release of before, wn004 stopped, and wn005 is silent."""
    grid = site(count)
    runs = {each.name: Runs(NEW, False) for each in grid.nodes}
    runs |= {"wn002": Runs(NEW, True), "wn003": Runs(OLD, False)}
    del runs["wn004"], runs["wn005"]
    booted = {name: boot(20 + number) for number, name in enumerate(runs)}
    booted["wn002"] = boot(30, degraded=(word, "no name"))
    booted["wn004"] = boot(9.25, ready=False, degraded=(word,))
    states = {"boot1": state(word, used=990), "boot2": state(word)}
    following = {each.name: NEW for each in grid.nodes}
    seen = Seen(states, {"boot3": f"ssh: {word}"}, {"boot1": 0, "boot2": 2}, runs, following, count)
    unheard = [f"wn[004-005]: {word}"]
    marked = ["secrets: wn006: not enrolled"]
    return ClusterFacts(grid, "2026-11-29 14:12 UTC", grid.nodes, seen, marked, unheard, booted)


def page(given: ClusterFacts) -> str:
    view = json.loads(json.dumps(overview(given)))
    fit(view, SHAPE, "status")
    values = {"seen": view, **{key: view[key] for key in ("site", "at", "needs")}}
    return render_page("status.html", values, (str(REPOSITORY / "templates"),)).decode()


def test_what_needs_somebody_comes_first_and_the_worst_of_it():
    view = overview(facts())
    assert view["needs"] == [
        ["bad", "boot3", "ssh: no disk"],
        ["bad", "boot[1-2]", "no disk"],
        ["bad", "wn002", "degraded: no disk; no name"],
        ["bad", "wn004", "stopped: no disk"],
        ["warn", "boot2", "2 differences from what was deployed: doit verify"],
        ["warn", "boot1", "/srv has only 10.0 GiB left"],
        ["warn", "wn003", f"runs {OLD}, at the next boot {NEW}"],
        ["warn", "secrets", "wn006: not enrolled"],
        ["quiet", "wn[004-005]", "no disk"],
    ]
    assert [tile[:2] for tile in view["tiles"]] == [
        ("6", "nodes"), ("2", "as they shall be"), ("1", "stopped at its last boot"), ("1", "came up without something"),
        ("1", "would boot another release"), ("1", "did not answer"), ("2 of 3", "servers answer"),
    ]  # fmt: skip


def test_a_new_server_has_nothing_that_differs():
    given = facts()
    new = {**state(), "current": {}, "site": None, "releases": [], "pins": {}}
    given.seen.states["boot3"] = new
    given.seen.failed.clear()
    given.seen.drift["boot3"] = 1
    view = overview(given)
    assert ["warn", "boot3", "nothing is deployed: doit deploy"] in view["needs"]
    assert view["servers"][2]["says"] == "nothing is deployed"


def test_nodes_releases_servers_and_boots_are_told_of_as_they_are():
    view = overview(facts())
    (group,) = view["groups"]
    assert [cell[1] for cell in group["cells"]] == [
        "well",
        "degraded",
        "behind",
        "stopped",
        "silent",
        "well",
    ]
    assert group["cells"][3][2] == "wn004: did not answer, stopped 2026-11-29 14:02 in 9.2 s"
    assert group["releases"] == [(NEW, 3), (OLD, 1)]
    new, old = view["releases"]
    assert (new["id"], new["booted"], new["runs"], new["share"]) == (NEW, "boot[1-2]", 3, 50)
    assert (old["id"], old["pinned"], old["unused"], old["runs"]) == (OLD, "wn001", 3, 1)
    assert [server["level"] for server in view["servers"]] == ["bad", "bad", "bad"]
    assert view["servers"][0]["last"] == "2026-11-28 09:12 deploy done"
    (boots,) = view["boots"]
    assert [(row["nodes"], row["seconds"], row["slowest"]) for row in boots["rows"]] == [
        ("wn002", "30", "root"), ("wn[001,003,006]", "20-23", "root"), ("wn004", "9.2", "root"),
    ]  # fmt: skip
    assert boots["unknown"] == "wn005"


def test_of_a_cluster_of_which_nothing_is_known_the_page_says_so():
    empty = Seen({}, dict.fromkeys(("boot1", "boot2", "boot3"), "No route"), {}, {}, {}, 6)
    text = page(facts()._replace(seen=empty, unheard=["wn[001-006]: No route"], booted=None))
    assert "None is deployed." in text and "No server keeps reports of boots" in text
    assert "<strong>boot[1-3]</strong> <span>No route</span>" in text


def test_nobody_is_needed_where_all_is_well():
    given = facts()
    well = {each.name: Runs(NEW, False) for each in given.nodes}
    states = {name: state() for name in ("boot1", "boot2", "boot3")}
    seen = given.seen._replace(states=states, failed={}, drift={}, runs=well)
    text = page(given._replace(seen=seen, marked=[], unheard=[], booted={}))
    assert "Nothing needs anybody." in text and "<title>grid: nothing to look at</title>" in text


@pytest.mark.parametrize("word", [HOSTILE, "</style><script>", "x" * 5000])
def test_whatever_servers_and_nodes_say_is_only_text(word):
    text = page(facts(word=word))
    assert "<script" not in text and not re.search(r"(?i)(src|href)=|@import|url\(", text)
    assert not [char for char in text if not char.isprintable() and char != "\n"]


def test_ten_thousand_nodes_are_squares_and_the_page_stays_small():
    text = page(facts(10_000))
    assert text.count('<li class="well"') == 9996 and len(text) < 1_500_000
    assert '<strong title="wn[001,003,006-10000]">9' not in text


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("theme", BACK)
def test_a_browser_shows_it_in_light_and_dark_on_a_phone_and_on_a_wall(tmp_path, theme, width):
    shot = screenshot(tmp_path, page(facts(90)), theme, width, 3000)
    assert first_pixel(shot) == BACK[theme]
    assert len(shot) > 80_000, "an empty page is smaller"


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_is_wider_than_the_window(tmp_path, width):
    long = facts(1000, word="/very/long/" + "path" * 200)
    for given in (long, long._replace(nodes=long.nodes[:90])):
        wide, window = width_in(tmp_path, page(given), width)
        assert wide <= window <= max(500, width)
