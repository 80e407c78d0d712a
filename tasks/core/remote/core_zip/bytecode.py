"""Bytecode: that of all modules in one piece, found there by the Python that it is of.

zipimport is Python, too, and unpacks each module twice: an eighth of what a server did until it
could begin.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from zipimport import zipimporter

INIT = "/__init__.py"
NAME = f"bytecode-{importlib.util.MAGIC_NUMBER.hex()}"  # in the zip; another Python's has another


def compiled(sources: Mapping[str, bytes]) -> bytes:
    """The bytecode of modules, whose files in the zip are given."""
    codes = {}
    for file, source in sources.items():
        name = file.removesuffix(INIT).removesuffix(".py").replace("/", ".")
        codes[name] = compile(source, file, "exec", dont_inherit=True)
    return marshal.dumps(codes)


def use(path: str) -> None:
    """Have modules found in the bytecode of this zip. Of another Python: nothing is done."""
    archive = zipimporter(path)
    try:
        data = archive.get_data(NAME)
    except OSError:
        return
    sys.meta_path.insert(0, Finder(archive, marshal.loads(data)))


class Finder:
    """Finds modules in bytecode, and loads them (importlib.abc.MetaPathFinder, InspectLoader)."""

    def __init__(self, archive: zipimporter, codes: Mapping[str, CodeType]):
        self.archive, self.codes = archive, codes

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        code = self.codes.get(name)
        if code is None:
            return None
        file = os.path.join(self.archive.archive, code.co_filename)
        below = [os.path.dirname(file)] if file.endswith(INIT) else None
        return importlib.util.spec_from_file_location(
            name,
            file,
            loader=self,  # type: ignore[arg-type]  # the old load_module is not missed
            submodule_search_locations=below,
        )

    def create_module(self, spec: ModuleSpec) -> None:
        """As any module is created."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.codes[module.__name__], module.__dict__)

    def get_source(self, name: str) -> str:
        """What a traceback shows lines of."""
        return self.archive.get_data(self.codes[name].co_filename).decode()
