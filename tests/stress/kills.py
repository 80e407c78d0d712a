"""Work on a boot server killed: after it nodes are served the old or the new, whole, and the next command finishes.

.venv/bin/python -m tests.stress.kills [COUNT [FILES]]

Deploys at COUNT random instants (200); then rollback, prune and deploy of releases of FILES files (200), before every
rename, link, unlink, mkdir, rmdir and flush that they make, each with every command that may come next. Ends with a
traceback where nodes would come upon something that is not whole, or verify finds something wrong after that.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections import Counter


def main(count: int, files: int) -> None:
    at_random(count)
    at_every_step(files)


def at_random(count: int) -> None:
    from tasks.core.store.paths import Targets
    from tests.support.killed_deploys import kill

    with tempfile.TemporaryDirectory() as folder:
        ends = Counter(
            kill(
                pathlib.Path(folder),
                Targets("/tftpboot", "/opt/nfs_export", f"{folder}/dest"),
                count,
            )
        )
    print(
        f"{count} deploys killed; served after them: {', '.join(f'{n} {what}' for what, n in sorted(ends.items()))}"
    )


def at_every_step(files: int) -> None:
    """What the suite does with few files."""
    from tests.core.deploy import test_kills

    checks = {
        "rollback": (
            test_kills.test_a_rollback_killed_at_any_step_is_ended_by_the_next_command_of_another_kind,
            test_kills.OTHERS,
        ),
        "prune": (
            test_kills.test_a_prune_killed_at_any_step_is_ended_by_the_next_command_of_any_kind,
            test_kills.NEXT,
        ),
        "deploy": (
            test_kills.test_a_deploy_killed_at_any_step_leaves_what_any_next_command_makes_right,
            test_kills.NEXT,
        ),
    }
    with test_kills.in_memory(files) as server:
        test_kills.test_a_rollback_killed_at_any_step_and_run_again_ends_at_the_release_that_the_first_one_chose(
            server
        )
    for work, (check, following) in checks.items():
        for then in following:
            with test_kills.in_memory(files) as server:
                check(server, then)
            print(
                f"{work} of {files} files killed before each of its steps, then {then}: whole every time",
                flush=True,
            )


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("200", "200")[len(sys.argv) - 1 :])))
