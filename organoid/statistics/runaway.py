"""What counts as running away, in free run and in a session alike: defined once, here.

A culture or network runs away when it fires for `RUNAWAY_WINDOW` above `RUNAWAY_FACTOR` times the highest rate of all
units that its recording held over so long.
"""

RUNAWAY_FACTOR = 5.0
RUNAWAY_WINDOW = 2.0  # s
