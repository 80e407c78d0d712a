"""A run with nothing to do, beside `rsync -an` of the same tree: `bench/noop.py [FILES]`, by default 50,000.

Interleaved; medians of the rounds' ratios, of CPU (with all children) and of wall time.
"""

from __future__ import annotations

import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
ROUNDS = 7


def timed(*argv: object) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(list(map(str, argv)), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main(files: int) -> None:
    import small_site

    with tempfile.TemporaryDirectory(prefix="plugnode-bench-") as name:
        work = pathlib.Path(name)
        reference = small_site.reference(work / "reference", files)
        subprocess.run(["cp", "-a", reference, work / "copy"], check=True)
        small_site.write(work / "site.yaml", reference)
        noop = (sys.executable, "-m", "doit", f"site={work}/site.yaml", f"build={work}/build")
        peer = ("rsync", "-an", f"{reference}/", f"{work}/copy/")
        timed(*noop), time.sleep(1), timed(*noop), timed(*peer)
        rounds = [(timed(*noop), timed(*peer)) for _ in range(ROUNDS)]
    for place, what in enumerate(("CPU", "wall")):
        ratios = [ours[place] / theirs[place] for ours, theirs in rounds]
        seconds = [statistics.median(pair[side][place] for pair in rounds) for side in (0, 1)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{what:4} {statistics.median(ratios):.2f} ({spread}): {seconds[0]:.3f} s beside {seconds[1]:.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
