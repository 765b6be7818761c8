"""`python -m runtime_py.cli` is `prunnet-check`."""

import sys

from runtime_py.cli.check import main

sys.exit(main())
