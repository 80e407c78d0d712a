"""The stages: what is built from what. How is in `core`, which imports no doit."""

import sys

# Where it is off, to compile the stages would be a fourth of a run with nothing to do
sys.dont_write_bytecode = False
