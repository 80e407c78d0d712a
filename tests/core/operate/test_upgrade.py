"""Nodes that are drained, rebooted and taken back; here a cluster of values, in tests/commands/ nodes with sshd and Slurm."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterable, Mapping

import pytest

from tasks.core.base.errors import Refused
from tasks.core.nodes.ask import Heard, Runs
from tasks.core.operate.ledger import DRAINED, REBOOTED, Ledger
from tasks.core.operate.schedulers import KeptFromJobs
from tasks.core.operate.upgrade import Bounds, Outcome, Rolling

OLD, NEW = "worker-0123456789ab", "worker-ba9876543210"
NAMES = ["wn001", "wn002", "wn003", "wn004"]


class Cluster:
    """Nodes, and who sends them jobs. What is told of a node by `does` it does when it is rebooted."""

    stays, knows_jobs = "; it stays drained", True

    def __init__(self, **does: str):
        self.bmcs: set[str] = set()
        self.cycled: list[str] = []
        self.does, self.release = does, dict.fromkeys(NAMES, OLD)
        self.reasons: dict[str, str] = {}
        self.jobs: set[str] = set()
        self.broken: set[str] = set()  # nodes that cannot be drained
        self.most = 0
        self.silent: set[str] = set()
        self.claims: dict[str, str] = {}  # of nodes, until they boot

    def held(self, nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
        return {
            node: KeptFromJobs(
                f"drained by somebody else: {self.reasons[node]}", self.reasons[node]
            )
            for node in nodes
            if node in self.reasons
        }

    def drain(self, node: str, reason: str) -> None:
        if node in self.broken:
            raise Refused("no such node")
        self.reasons[node] = reason
        self.most = max(self.most, len(self.reasons))

    def busy(self, nodes: Iterable[str]) -> Mapping[str, str]:
        return {node: "mixed" for node in nodes if node in self.jobs}

    def undrain(self, node: str) -> None:
        del self.reasons[node]

    def hear(self, nodes: Collection[str]) -> Heard:
        heard = Heard({}, dict.fromkeys(self.silent & {*nodes}, "No route to host"), "")
        for node in {*nodes} - self.silent:
            heard.runs[node] = Runs(self.release[node], self.does.get(node) == "degraded")
        return heard

    def claim(self, nodes: Collection[str]) -> Mapping[str, str]:
        whose = {node: self.claims.setdefault(node, "us") for node in nodes}
        return {node: name for node, name in whose.items() if name != "us"}

    def unclaim(self, nodes: Collection[str]) -> None:
        for node in nodes:
            del self.claims[node]

    def reboot(self, nodes: Collection[str]) -> Mapping[str, str]:
        if "interrupted" in map(self.does.get, nodes):
            raise KeyboardInterrupt
        self.silent |= {node for node in nodes if self.does.get(node) == "silent"}
        refused = [node for node in nodes if self.does.get(node) == "refused"]
        for node in nodes:
            if self.does.get(node) != "stays" and node not in refused:
                self.release[node] = NEW
                self.claims.pop(node)
        return dict.fromkeys(refused, "it has no shutdown")

    def has_power(self, node: str) -> bool:
        return node in self.bmcs

    def cycle(self, nodes: Collection[str]) -> Mapping[str, str]:
        self.cycled += nodes
        dark = [node for node in nodes if self.does.get(node) == "dark"]
        self.silent -= {*nodes}
        for node in nodes:
            self.release[node] = OLD if node in dark else NEW
        return dict.fromkeys(dark, "the password is wrong")


@pytest.fixture
def ledger(tmp_path: pathlib.Path) -> Ledger:
    return Ledger(str(tmp_path / "upgrade.json"))


def rolling(cluster: Cluster, ledger: Ledger, at_once: int = 4, failed: int = 9) -> Rolling:
    bounds = Bounds(at_once, failed, idle=0.05, boot=0.05, every=0.01)
    wanted = dict.fromkeys(NAMES, NEW)
    return Rolling(wanted, (cluster, cluster, ledger), bounds, lambda text: None)


def upgraded(cluster: Cluster, ledger: Ledger, **limits: int) -> Outcome:
    """Once more the same command: what is on disk is read anew."""
    work = rolling(cluster, Ledger(ledger.path), **limits)
    return work.run(work.resume(cluster.hear(NAMES)))


@pytest.mark.parametrize("at_once", [1, 3, 9])
def test_never_more_are_away_than_may_be_and_all_come_back(ledger: Ledger, at_once: int):
    cluster = Cluster()
    outcome = upgraded(cluster, ledger, at_once=at_once)
    assert outcome == (NAMES, {}, {}) and cluster.reasons == {}
    assert cluster.most == min(at_once, 4) and Ledger(ledger.path).nodes == {}
    assert upgraded(cluster, ledger) == ([], {}, {})


def test_a_node_in_somebody_elses_upgrade_is_left_to_that(ledger: Ledger):
    cluster = Cluster()
    cluster.claims["wn002"] = "bob on head2"
    outcome = upgraded(cluster, ledger, at_once=2)
    assert outcome.left == {"wn002": "in the upgrade of bob on head2, until that has ended"}
    assert outcome.upgraded == ["wn001", "wn003", "wn004"] and cluster.reasons == {}
    assert cluster.claims == {"wn002": "bob on head2"} and cluster.release["wn002"] == OLD


def test_a_node_that_does_not_become_idle_is_let_go(ledger: Ledger):
    cluster = Cluster()
    cluster.jobs = {"wn002"}
    outcome = upgraded(cluster, ledger)
    assert outcome.left == {"wn002": "not idle in 0.05 seconds: mixed"}
    assert cluster.release["wn002"] == OLD and cluster.reasons == {} and not outcome.failed
    assert cluster.claims == {}


def test_what_failed_stays_drained_with_its_reason_until_it_is_well(ledger: Ledger):
    cluster = Cluster(wn001="degraded", wn002="silent", wn003="stays", wn004="refused")
    outcome = upgraded(cluster, ledger)
    reasons = {
        "wn001": f"runs {NEW}, degraded: see /run/plugnode/degraded there",
        "wn002": "not back in 0.05 seconds: it does not answer: No route to host",
        "wn003": f"not back in 0.05 seconds: it runs {OLD}",
        "wn004": "no reboot: it has no shutdown",
    }
    assert outcome.failed == {node: f"{why}; it stays drained" for node, why in reasons.items()}
    assert cluster.reasons == {node: f"plugnode: {why}" for node, why in reasons.items()}
    cluster.does, cluster.silent = {}, set()
    assert sorted(upgraded(cluster, ledger).upgraded) == NAMES and cluster.reasons == {}


def test_what_ssh_does_not_reboot_its_power_does_once_and_only_by_the_schedulers_word(
    ledger: Ledger,
):
    cluster = Cluster(wn001="refused", wn002="silent", wn003="stays", wn004="refused")
    cluster.bmcs = {"wn001", "wn002", "wn003"}
    outcome = upgraded(cluster, ledger)
    assert sorted(outcome.upgraded) == ["wn001", "wn002", "wn003"]
    assert sorted(cluster.cycled) == ["wn001", "wn002", "wn003"]
    assert outcome.failed == {"wn004": "no reboot: it has no shutdown; it stays drained"}

    unknowing = Cluster(wn001="refused")
    unknowing.bmcs, unknowing.knows_jobs = {"wn001"}, False
    assert "wn001" in upgraded(unknowing, Ledger(ledger.path + "2")).failed and not unknowing.cycled

    late = Cluster(wn001="stays")
    late.bmcs = {"wn001"}
    late.reboot = lambda nodes: late.jobs.update(nodes) or {}  # somebody resumes it by hand
    assert "wn001" in upgraded(late, Ledger(ledger.path + "3")).failed and not late.cycled


def test_where_power_fails_too_both_are_said(ledger: Ledger):
    cluster = Cluster(wn001="dark")
    cluster.bmcs = {"wn001"}
    cluster.reboot = lambda nodes: dict.fromkeys({"wn001"} & {*nodes}, "No route to host")
    outcome = upgraded(cluster, ledger)
    said = "no reboot: No route to host; power: the password is wrong; it stays drained"
    assert outcome.failed["wn001"] == said and cluster.cycled == ["wn001"]


def test_too_many_failures_stop_it_and_those_that_wait_for_jobs_are_let_go(ledger: Ledger):
    cluster = Cluster(wn001="degraded")
    cluster.jobs = {"wn002"}
    outcome = upgraded(cluster, ledger, at_once=2, failed=1)
    assert outcome.left == {
        "wn002": "not rebooted: too many have failed",
        "wn003": "not begun when it stopped",
        "wn004": "not begun when it stopped",
    }
    assert list(cluster.reasons) == ["wn001"]


def test_interrupted_it_gives_back_what_was_not_rebooted(ledger: Ledger):
    cluster = Cluster(wn003="interrupted")
    cluster.jobs = {"wn001", "wn002"}
    work = rolling(cluster, ledger)
    with pytest.raises(KeyboardInterrupt):
        work.run(NAMES)
    assert set(cluster.reasons) == {"wn003", "wn004"}, "which may have been rebooted"
    assert work.outcome.left["wn001"] == "not rebooted when it stopped"
    cluster.does, cluster.jobs = {}, set()
    assert sorted(upgraded(cluster, ledger).upgraded) == NAMES and cluster.reasons == {}


def test_the_next_one_takes_back_what_a_killed_one_had_drained(ledger: Ledger):
    cluster = Cluster()
    for node, how in {"wn001": REBOOTED, "wn002": DRAINED, "wn003": DRAINED}.items():
        ledger.note(node, how)
        cluster.drain(node, "plugnode: upgrade")
    cluster.release |= {"wn001": NEW, "wn003": NEW}
    assert sorted(upgraded(cluster, ledger).upgraded) == ["wn001", "wn002", "wn004"]
    assert cluster.reasons == {} and Ledger(ledger.path).nodes == {}


def test_what_somebody_else_has_drained_is_left_and_a_drain_that_fails_is_a_failure(ledger: Ledger):
    cluster = Cluster()
    cluster.drain("wn001", "bad fan")
    cluster.broken = {"wn002"}
    outcome = upgraded(cluster, ledger)
    assert outcome.left == {"wn001": "drained by somebody else: bad fan"}
    assert outcome.failed == {"wn002": "no such node"}
    assert cluster.reasons == {"wn001": "bad fan"} and cluster.release["wn002"] == OLD


def test_what_somebody_drains_before_its_turn_is_left(ledger: Ledger):
    cluster = Cluster()
    cluster.reboot = _then(cluster.reboot, lambda: cluster.reasons.setdefault("wn003", "bad fan"))
    outcome = upgraded(cluster, ledger, at_once=1)
    assert outcome.left == {"wn003": "drained by somebody else: bad fan"}
    assert cluster.reasons == {"wn003": "bad fan"} and cluster.release["wn003"] == OLD
    assert outcome.upgraded == ["wn001", "wn002", "wn004"] and "wn003" not in cluster.claims


def test_what_somebody_drains_while_it_waits_or_boots_is_not_undrained(ledger: Ledger):
    cluster = Cluster(wn002="degraded")
    others = dict.fromkeys(("wn001", "wn002", "wn003"), "bad fan")
    cluster.jobs = {"wn003"}
    cluster.reboot = _then(cluster.reboot, lambda: cluster.reasons.update(others))
    outcome = upgraded(cluster, ledger)
    words = "drained by somebody else: bad fan"
    assert outcome.left == dict.fromkeys(("wn001", "wn003"), words)
    degraded = f"runs {NEW}, degraded: see /run/plugnode/degraded there"
    assert outcome.failed == {"wn002": f"{degraded}; {words}"}
    assert cluster.reasons == others and cluster.release["wn003"] == OLD
    assert Ledger(ledger.path).nodes == {} and cluster.claims == {}


def test_what_somebody_drains_while_its_jobs_end_is_not_rebooted(ledger: Ledger):
    cluster = Cluster()
    cluster.drain = lambda node, reason: cluster.reasons.update({node: "bad fan"})
    outcome = upgraded(cluster, ledger, at_once=1)
    assert outcome.left == dict.fromkeys(NAMES, "drained by somebody else: bad fan")
    assert set(cluster.release.values()) == {OLD} and cluster.claims == {}


def _then(first, second):
    def both(*given):
        answer = first(*given)
        second()
        return answer

    return both


def test_what_boots_still_counts_as_away_for_the_next_one_with_fewer_at_once(ledger: Ledger):
    cluster = Cluster(wn001="silent", wn002="silent", wn003="silent")
    for node in ("wn001", "wn002"):
        ledger.note(node, REBOOTED)
        cluster.drain(node, "plugnode: upgrade")
    cluster.silent = {"wn001", "wn002"}
    outcome = upgraded(cluster, ledger, at_once=1, failed=2)
    assert cluster.most == 2 and [*outcome.left] == ["wn003", "wn004"], outcome


def test_while_the_scheduler_says_nothing_no_other_is_begun_and_with_none_at_work_it_ends(
    ledger: Ledger,
):
    cluster, silent = Cluster(), [["wn003"]]
    cluster.jobs = {"wn002"}

    def held(nodes: Iterable[str]) -> Mapping[str, KeptFromJobs]:
        if silent and [*nodes] in silent:
            silent.clear()
            raise Refused("Unable to contact slurm controller")
        return Cluster.held(cluster, nodes)

    cluster.held = held
    outcome = upgraded(cluster, ledger, at_once=2)
    assert outcome.upgraded == ["wn001", "wn003", "wn004"] and [*outcome.left] == ["wn002"]
    silent.append(["wn002"])
    with pytest.raises(Refused, match="Unable to contact slurm controller"):
        upgraded(cluster, ledger)
    assert cluster.reasons == {} and cluster.claims == {}


def test_a_ledger_that_is_damaged_counts_as_none(ledger: Ledger):
    for text in ("{", "[]", '{"wn001": 3}'):
        pathlib.Path(ledger.path).write_text(text)
        assert Ledger(ledger.path).nodes == {}
