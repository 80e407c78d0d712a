"""What changed between two releases of a server: `doit status RELEASE..RELEASE`.

releases on servers ──> packages, texts of /etc, kernel and arguments
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .base.desired import changes_told
from .base.servers import everywhere, refuse_failed, tell
from .base.settings import Run
from .core.base.errors import BadInput

BETWEEN = ".."


def is_range(word: str) -> bool:
    """Whether a word of the command line names two releases."""
    return BETWEEN in word and "=" not in word and not word.startswith("-")


def show_range(run: Run, words: Sequence[str]) -> None:
    """Tell what changed from one release to another, on each server that has both."""
    from .core.remote.options import HistoryOptions

    before, _, after = words[0].partition(BETWEEN)
    if len(words) > 1 or not before or not after:
        wanted = "name two releases, as doit status lists them, with .. between"
        raise BadInput.at(run.settings.site, f"status {' '.join(words)}: {wanted}")
    answers = everywhere(run, HistoryOptions(before, after))
    answered = {server: answer.done for server, answer in answers.items() if answer.done}
    tell(run, {server: text(run, done) for server, done in answered.items()})
    refuse_failed(run, answers)


def text(run: Run, done: Mapping[str, Any]) -> str:
    """What a server said, with what of it may be told."""
    from .core.history.words import WHOLE, history_lines

    return "\n".join([*done["lines"], *history_lines(changes_told(run, done["asked"]), WHOLE)])
