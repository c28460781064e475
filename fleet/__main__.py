"""``python -m fleet``: the same as ``./inv``, from an environment that is there already."""

from fleet.cli.program import main

main()
