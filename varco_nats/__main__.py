"""`python -m varco_nats`: the commands of `varco nats` and `lab`, without the plugins of `varco`.

It works where a plugin of another package keeps `varco` from starting.
"""

from __future__ import annotations

import argparse
import sys

from varco_nats._commands import lab, nats


def main() -> int:
    """Run the command in `sys.argv`; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m varco_nats", description="What 'varco nats' and 'varco lab' do."
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    nats.add_to(subparsers)
    lab.register(subparsers)
    args = parser.parse_args()
    return int(args._run(args))  # noqa: SLF001 -- the name that varco's command line gives it


if __name__ == "__main__":
    sys.exit(main())
