"""Run the command line of the package: ``python -m cookbook_utils``."""

import sys

from cookbook_utils.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command())
