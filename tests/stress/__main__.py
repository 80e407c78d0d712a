"""List the campaigns: what they try, more often and longer than the suite does.

.venv/bin/python -m tests.stress              each campaign, and what it does
.venv/bin/python -m tests.stress NAME ...     run one, with words of its own; NAME --help
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    names = sorted(path.stem for path in HERE.glob("[!_]*.py"))
    if len(sys.argv) < 2:
        for name in names:
            print(f"{name:<24} {summary(name)}")
        return
    name = sys.argv.pop(1)
    if name not in names:
        sys.exit(f"no campaign {name}; there are {', '.join(names)}")
    runpy.run_module(f"tests.stress.{name}", run_name="__main__", alter_sys=True)


def summary(name: str) -> str:
    """The first line of a campaign's own description."""
    description = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    return description.partition("\n")[0]


if __name__ == "__main__":
    main()
