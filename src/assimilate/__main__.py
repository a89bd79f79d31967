"""`python -m assimilate`."""

import sys

from assimilate.cli import main

if __name__ == "__main__":
    sys.exit(main())
