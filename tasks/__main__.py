"""doit as ./doit starts it: it knows dodo.py and asks for nothing else.

Of other packages it takes no plugins, and none of its settings stand in pyproject.toml: to look for
both at each start would be a tenth of a run with nothing to do.
"""

import sys

from doit import plugin
from doit.doit_cmd import DoitMain

plugin.entry_points_impl = lambda: lambda group: ()
sys.exit(DoitMain(config_filenames=()).run(sys.argv[1:]))
