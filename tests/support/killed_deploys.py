"""Deploys killed at random instants, and what is served after each."""

from __future__ import annotations

import os
import pathlib
import pickle
import random
import signal
import subprocess
import time

from tasks.core.plan import decide
from tasks.core.plan.actual import read_actual
from tasks.core.store import journal, operation
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import AUTHOR, build, python, run, served, want

RUN = "import pickle, sys; from tests.support.deploy_kit import run; run(*pickle.load(open(sys.argv[1], 'rb')))"


def start(tmp_path: pathlib.Path, *given, **options) -> subprocess.Popen:
    """A deploy in a process of its own."""
    file = tmp_path / "given"
    file.write_bytes(pickle.dumps(given))
    return python(RUN, str(file), **options)


def kill(tmp_path: pathlib.Path, targets: Targets, count: int) -> list[str]:
    """Kill so many deploys at instants spread over a whole run, as ostree tests it; what was served after each."""
    changes = [{f"file{f}": b"%d\n" % n for f in range(50)} for n in range(2)]
    builds = [build(tmp_path / str(n), files=1500, **changes[n]) for n in range(2)]
    wanted = [want(built, site_img=b"site %d" % n) for n, built in enumerate(builds)]
    outcomes = [(one.releases[0].release.id, one.site_id) for one in wanted]
    run(targets, wanted[0])
    began = time.monotonic()
    assert start(tmp_path, targets, wanted[1]).wait() == 0
    length = time.monotonic() - began
    dice, ends = random.Random(5), []
    for number in range(count):
        goal = number % 2
        _forget(targets, builds[goal].release.id)
        deploying = start(tmp_path, targets, wanted[goal], start_new_session=True)
        time.sleep(dice.uniform(0.3, 1.3) * length)
        os.killpg(deploying.pid, signal.SIGKILL)
        deploying.wait()
        ends.append(_end(served(targets), outcomes, goal))
        run(targets, wanted[goal])
        _is_finished(targets, wanted[goal])
    return ends


def _end(found, outcomes: list[tuple[str, str]], goal: int) -> str:
    """Between the renames some loaders' files are old and some new; each node reads one of them."""
    seen = found if isinstance(found, list) else [found]
    assert set(seen) <= set(outcomes)
    return "between" if len(seen) > 1 else "new" if seen[0] == outcomes[goal] else "old"


def _is_finished(targets: Targets, wanted) -> None:
    assert served(targets) == (wanted.releases[0].release.id, wanted.site_id)
    assert not decide.plan(read_actual(targets, wanted), wanted).changed
    assert journal.read_journal(targets.kept("journal.jsonl"))[-1]["result"] == journal.DONE
    assert not os.path.exists(targets.incoming_roots) and not os.path.exists(targets.incoming_files)


def _forget(targets: Targets, release: str) -> None:
    """As if the release had never been there; it is the one that nodes do not boot."""
    from tasks.core.store.kept import remove_release

    assert release != served(targets)[0]
    with operation.held(targets, "test", AUTHOR):
        remove_release(targets, release)
