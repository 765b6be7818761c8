"""`python -m exporters.cli` is `prunnet-export`."""

import sys

from exporters.cli.export import main

sys.exit(main())
