"""The benchmarks' programs: that they measure, and say what they measured. Not what: a busy machine tells nothing."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Iterator

import pytest

from bench import cases, results
from bench.measure import Measured, Ratio, Side, Used, interleaved, quietest
from bench.rows import Curve, Goals, Results, Row, at_most, counted, of_size, of_time, parse
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit

LEFT_OUT = {
    "initrd": "takes the Debian root of a whole run",
    "ltsp": "takes the Debian root of a whole run",
    "boot": "no boot was measured: run ./doit boot before",
}


@pytest.fixture(scope="module")
def kept() -> Iterator[pathlib.Path]:
    """A folder for their disk below build/, as `./doit bench` has it: servers see it there, too."""
    (REPOSITORY / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=REPOSITORY / "build") as folder:
        yield pathlib.Path(folder)


@pytest.fixture(scope="module")
def tiny(kept: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """What a run of every case leaves, its inputs as small as they can be."""
    assert os.geteuid() == 0, "a disk of its own takes root"
    out = tmp_path_factory.mktemp("bench")
    words = [
        sys.executable,
        "-m",
        "bench.run",
        "--size",
        "tiny",
        "--out",
        out,
        "--kept",
        kept,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    assert done.stdout in (out / "results.md").read_text()
    return out


def test_every_case_measures_or_says_why_not(tiny: pathlib.Path):
    found = parse((tiny / "results.json").read_text())
    assert {line.partition(":")[0] for line in found.left_out} <= LEFT_OUT.keys()
    assert len(found.rows) >= 14 and len(found.curves) == len(cases.GROWTH)
    for row in found.rows:
        assert all(value > 0 for value in (*row.ours, *row.theirs)), row
    for curve in found.curves:
        assert all(ours > 0 and theirs >= 0 for _, ours, theirs in curve.points), curve


def test_the_plot_is_a_picture_with_a_bar_for_each_row_that_has_a_peer(tiny: pathlib.Path):
    picture = xml.parse(tiny / "results.svg").getroot()
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    found = parse((tiny / "results.json").read_text())
    assert {f"{row.work} / {row.peer}" for row in found.rows if row.peer} <= set(texts)


def test_nothing_of_the_disk_stays(tiny: pathlib.Path, kept: pathlib.Path):
    assert not (kept / "disk.img").exists() and not any((kept / "disk").iterdir())
    assert str(kept) not in pathlib.Path("/proc/mounts").read_text()


def test_sides_take_turns_and_the_first_round_does_not_count(tmp_path: pathlib.Path):
    log = tmp_path / "log"
    sides = [Side(name, ["sh", "-c", f"echo {name} >>{log}"], lambda: None) for name in ("a", "b")]
    found = interleaved(sides, 2)
    assert log.read_text().split() == ["a", "b"] * 4
    assert [len(side.rounds) for side in found] == [2, 2]


def test_the_rounds_count_in_which_the_machine_was_quietest_whatever_they_took():
    ours, peer = (1, 9, 5, 5.1, 5, 2), (1, 1, 3, 3, 3.1, 1)
    found = [[Used(wall, 1, 0) for wall in walls] for walls in (ours, peer)]
    assert quietest(found, 3) == 2


def test_the_time_of_a_pipelines_every_process_counts():
    burn = f"{sys.executable} -c 'sum(range(5_000_000))'"
    one, two = interleaved(
        [Side("one", ["sh", "-c", burn]), Side("two", ["sh", "-c", f"{burn} & {burn}; wait"])], 3
    )
    assert two.median("cpu") > 1.5 * one.median("cpu")


def test_of_a_side_that_tells_what_its_work_took_that_counts():
    (found,) = interleaved([Side("told", ["sh", "-c", "echo words; echo 2.5 1.25"], tells=True)], 1)
    assert found.rounds[0][:2] == (2.5, 1.25)


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    walls = (1.0, 4.0, 9.0)
    ours = Measured("ours", tuple(Used(wall, 1, 0) for wall in walls))
    walls = (1.0, 2.0, 3.0)
    peer = Measured("peer", tuple(Used(wall, 2, 0) for wall in walls))
    assert ours.beside(peer, "wall") == Ratio(2.0, 1.0, 3.0)
    row = of_time("work", 1.0, ours, peer)
    assert row.ours == (1, 4.0) and not row.holds
    assert dataclasses.replace(row, goal=2.0, goal_of_wall=2.0).holds
    assert of_time("work", Goals(None, 2.0), ours, peer).holds
    assert not of_time("work", Goals(2.0, 1.9), ours, peer).holds


def test_a_command_that_fails_ends_the_run_with_its_own_words():
    with pytest.raises(RuntimeError, match=r"exit status 7\nno such thing"):
        interleaved([Side("bad", ["sh", "-c", "echo no such thing; exit 7"])], 1)


def test_a_case_that_nobody_knows_is_refused_with_those_that_there_are(
    doit: Doit, reference: pathlib.Path
):
    sample_site.write(doit.site, reference)
    assert "no case nosuch; there are noop, stage, " in doit("bench", "--only=nosuch", status=1)


EXAMPLE = Results(
    {"processors": "2"},
    (
        Row(
            "work",
            "peer",
            0.5,
            "s",
            (1.0, 2.0),
            (2.0, 2.0),
            (Ratio(0.5, 0.4, 0.6), Ratio(1.0, 0.9, 1.1)),
            0.5,
        ),
        of_size("bytes", 0.3, 1e6, "dracut", 10e6),
        at_most("memory", 400, 100e6),
        counted("asked", 2500, 4101, "calls"),
    ),
    (Curve("work", "peer", "files", ((10, 0.1, 0.2), (100, 0.2, 2.0))),),
    ("boot: not here",),
)


def test_the_table_says_what_missed_its_goal():
    lines = results.table(EXAMPLE).splitlines()
    assert (
        "| work | peer | 0.50 (0.40–0.60) | 1.00 (0.90–1.10) | 1.00 s CPU, 2.00 s | 0.5 | **no** |"
        in lines
    )
    assert "| bytes | dracut | 0.10 in bytes |  | 1.0 MB | 0.3 | yes |" in lines
    assert "| memory | – |  |  | 100.0 MB | 400 MB | yes |" in lines
    assert "| asked | – |  |  | 4,101 calls | 2,500 calls | **no** |" in lines
    assert "- left out: boot: not here" in lines and "| Plugnode | 0.10 | 0.20 |" in lines


def test_goals_of_cpu_and_of_wall_time_are_told_apart_where_they_differ():
    row = EXAMPLE.rows[0]
    assert results.goal(row) == "0.5"
    assert results.goal(dataclasses.replace(row, goal_of_wall=1.5)) == "0.5 CPU, 1.5 wall"
    only_wall = dataclasses.replace(row, goal=None, goal_of_wall=1.5)
    assert (results.goal(only_wall), results.reached(only_wall)) == ("1.5 wall", "yes")


def test_what_the_rounds_do_not_agree_on_is_not_decided():
    rounds = {
        "yes": ((0.8, 0.7, 0.9), (0.8, 0.8, 1.0)),
        "not decided": ((0.8, 0.7, 1.1), (0.8, 0.8, 0.9)),
        "**no**": ((1.5, 0.7, 1.6), (1.2, 1.1, 1.3)),
    }
    for said, found in rounds.items():
        ratios = tuple(Ratio(*each) for each in found)
        row = Row("work", "peer", 1.0, "s", (1, 1), (1, 1), ratios, 1.0)
        assert results.reached(row) == said


def test_results_are_read_back_as_they_were_written():
    assert parse(EXAMPLE.dump()) == EXAMPLE


def test_a_page_keeps_its_words_around_the_table():
    page = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
    assert (
        results.with_table(page, "new\n") == f"before\n{results.BEGIN}\nnew\n{results.END}\nafter\n"
    )


def test_the_published_page_shows_the_published_numbers():
    found = parse(results.PUBLISHED.numbers.read_text())
    page = results.PUBLISHED.page.read_text()
    assert results.with_table(page, results.table(found)) == page
    from bench import plot

    assert results.PUBLISHED.plot.read_text() == plot.draw(found)
