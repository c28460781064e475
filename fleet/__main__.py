"""``python -m fleet``: the same as ``./inv``, from an environment that is there already."""

import os
import sys

try:
    from fleet.cli.program import main

    main()
except KeyboardInterrupt:  # while modules are being read, before any verb can say it
    sys.stderr.write("\nended by Ctrl-C\n")
    sys.stderr.flush()
    os._exit(130)
