"""``python -m fleet``: the same as ``./inv``, from an environment that is there already."""

import os
import sys

try:
    from fleet.cli.program import main

    main()
except KeyboardInterrupt:  # before a verb could begin: nothing was done
    sys.stderr.write("\nended by Ctrl-C\n")
    os._exit(130)
