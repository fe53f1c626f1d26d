"""``python -m angelia``: the command line."""

from __future__ import annotations

import sys

from angelia.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
