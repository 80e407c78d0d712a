"""doit as ./doit starts it: it knows dodo.py and asks for nothing else.

Of other packages it takes no plugins, and none of its settings stand in pyproject.toml: to look for
both at each start, and to load what looks, would be a sixth of a run with nothing to do.
"""

import sys
from types import ModuleType


NOTHING = "ERROR: one of the words is empty, as of a variable that is not set; leave it out\n"


def main() -> int:
    if "" in sys.argv[1:]:  # doit looks at the first letter of each
        sys.stderr.write(NOTHING)
        return 3
    looks = ModuleType("importlib.metadata")  # mail's modules are among what it loads
    vars(looks)["entry_points"] = lambda group: ()
    sys.modules[looks.__name__] = looks
    from doit.doit_cmd import DoitMain

    del sys.modules[looks.__name__]
    status: int = DoitMain(config_filenames=()).run(sys.argv[1:])
    return status


sys.exit(main())
