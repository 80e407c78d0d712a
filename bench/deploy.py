"""Deploy beside rsync: a release of which ten files are new, and a verify, on a tree given as argument.

.venv/bin/python bench/deploy.py TREE [ROUNDS]     medians of ours / rsync, wall and CPU, interleaved
"""

from __future__ import annotations

import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "tests")]

DEPLOY = "import pickle, sys; from deploying import run; run(*pickle.load(open(sys.argv[1], 'rb')))"
VERIFY = (
    "import pickle, sys; from tasks.core import verify; targets, wanted = pickle.load(open(sys.argv[1], 'rb'));"
    "sys.exit(bool(list(verify.of_release(targets, wanted.releases[0].release.id))))"
)


def main(tree: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(tree))) as folder:
        bench(pathlib.Path(folder), tree, rounds)


def bench(folder: pathlib.Path, tree: str, rounds: int) -> None:
    from deploying import run, want

    from tasks.core.targets import Targets

    targets = Targets("/tftpboot", "/opt/nfs_export", str(folder / "dest"))
    old, new = staged(folder / "old", tree, b"old"), staged(folder / "new", tree, b"new")
    run(targets, want(old))
    before, after = targets.root(old.release.id), targets.root(new.release.id)
    copy = str(folder / "rsync")
    peer = ["rsync", "-a", "--delete", f"--link-dest={before}/", new.path("root") + "/", copy]
    given = folder / "given"
    import pickle

    given.write_bytes(pickle.dumps((targets, want(new))))
    results: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        for name, argv in (
            ("rsync --link-dest", peer),
            ("deploy", ours(DEPLOY, given)),
            ("rsync -an", ["rsync", "-an", "--delete", new.path("root") + "/", copy]),
            ("verify", ours(VERIFY, given)),
        ):
            found = timed(argv)
            if number:
                results.setdefault(name, []).append(found)
        assert os.path.isdir(after)
        shutil.rmtree(copy)
        forget(targets, old, new)
    report(results, "deploy", "rsync --link-dest")
    report(results, "verify", "rsync -an")


def staged(folder: pathlib.Path, tree: str, what: bytes):
    """A build of the tree with ten files of its own."""
    from deploying import finish

    from tasks.core import staged as core
    from tasks.core.scan import scan
    from tasks.core.tree import FILE, edited

    found = scan(tree).tree
    files = [path for path in sorted(found) if found[path].type == FILE]
    for path in files[:: len(files) // 10][:10]:
        found[path] = edited(found[path], what)
    folder.mkdir()
    core.stage_into(core.place(str(folder / "worker")), found)
    return finish(folder / "worker")


def forget(targets, old, new) -> None:
    """Make the new release unknown again."""
    from deploying import AUTHOR, run, want

    from tasks.core import deploy, prune

    run(targets, want(old))
    with deploy.held(targets, "bench", AUTHOR):
        prune.remove(targets, new.release.id)


def ours(code: str, given: pathlib.Path) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path[:2]!r}; {code}", str(given)]


def timed(argv: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    began, used = time.monotonic(), cpu()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, cpu() - used


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(results: dict[str, list[tuple[float, float]]], one: str, other: str) -> None:
    for number, what in enumerate(("wall", "CPU")):
        ratios = [a[number] / b[number] for a, b in zip(results[one], results[other])]
        print(
            f"{one} / {other}, {what}: {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f};"
            f" {statistics.median(row[number] for row in results[one]):.2f} s)"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
