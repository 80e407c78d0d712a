"""setup.sh with several disks, each with a layout of its own: real loop devices; arrays are tried in virtual machines.

What a cut leaves of a set of disks is made by hand, sector by sector: tests/stress has every other moment.
"""

from __future__ import annotations
