"""Boots: the last one of each node, as servers were told of it, folded for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..base.nodeset import fold_nodes
from ..base.text import span
from ..services.boot_reports import BootReport

Booted = Mapping[str, BootReport]  # by the names of nodes


def read_report(written: Mapping[str, Any]) -> BootReport:
    """What `plain_report` made."""
    return BootReport(**{**written, "degraded": tuple(written["degraded"])})


def latest(answers: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, BootReport]:
    """The last boot of each node, of what several servers heard."""
    found: dict[str, BootReport] = {}
    for boots in answers:
        for name, written in boots.items():
            report = read_report(written)
            if name not in found or found[name].at < report.at:
                found[name] = report
    return found


def alike(booted: Booted, names: Iterable[str]) -> list[list[str]]:
    """Of these nodes those whose boot is known: together where only seconds differ."""
    groups = dict[tuple[object, ...], list[str]]()
    for name in names:
        if report := booted.get(name):
            how = report.release, report.ready, report.degraded, report.slowest
            groups.setdefault(how, []).append(name)
    return list(groups.values())


def boots_text(booted: Booted, names: Sequence[str]) -> Iterator[str]:
    """The boots of these nodes, those that went alike together; with a `!` what is not right."""
    for members in alike(booted, names):
        yield from _group_text(members, [booted[name] for name in members])
    if unheard := [name for name in names if name not in booted]:
        yield f"no boot known of {fold_nodes(unheard)}"


def _group_text(names: list[str], reports: list[BootReport]) -> Iterator[str]:
    """Nodes whose boots differ in nothing but seconds."""
    first = reports[0]
    how = "in" if first.ready else "stopped after"
    seconds = span(each.seconds for each in reports)
    words = [f"{fold_nodes(names)}: {first.release} {how} {seconds} s"]
    if first.slowest:
        took = span(each.stages[first.slowest] for each in reports)
        words.append(f"slowest {first.slowest} ({took} s)")
    words.append(_times([each.at for each in reports]))
    whole = first.ready and not first.degraded
    yield ("" if whole else "! ") + ", ".join(words)
    if first.stages:
        yield f"    {_stages(reports)} s"
    for reason in first.degraded:
        yield f"    {'degraded' if first.ready else 'because'}: {reason}"


def _times(times: list[str]) -> str:
    first, last = min(times), max(times)
    return first if first == last else f"{first} to {last}"


def _stages(reports: list[BootReport]) -> str:
    """Each stage that some of them had: `kernel 3, network 6-9`."""
    names = dict.fromkeys(name for report in reports for name in report.stages)
    parts = []
    for name in names:
        took = span(report.stages.get(name, 0) for report in reports)
        parts.append(f"{name} {took}")
    return ", ".join(parts)
