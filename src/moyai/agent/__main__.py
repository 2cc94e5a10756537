"""`python -m moyai.agent`."""

import sys

from moyai.agent.main import main

if __name__ == "__main__":
    sys.exit(main())
