"""The command: `python -m tests.soak --minutes 2 --seed 7 --semantics exactly_once --single`."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.evidence import FAULT_LOG
from tests.soak.scenario import Options, Soak
from tests.soak.worker import ALL


def main() -> int:
    """The soak's verdict as exit status: 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults, default 30")
    parser.add_argument("--seed", type=int, help="of the choice of faults; default random")
    parser.add_argument("--semantics", help=f"some of {','.join(ALL)}; default all")
    parser.add_argument("--single", action="store_true", help="one server, no replicas")
    parser.add_argument("--folder", type=Path, help="for ledgers and fault log; kept")
    given = parser.parse_args()
    semantics = tuple(given.semantics.split(",")) if given.semantics else ALL
    if unknown := set(semantics) - set(ALL):
        parser.error(f"no such semantics: {', '.join(unknown)}")
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="varco-soak-")) if given.folder is None else given.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, faults in {folder / FAULT_LOG}", flush=True)
    options = Options(given.minutes * 60, seed, semantics, given.single, folder)
    try:
        verdict = asyncio.run(Soak(options).run())
    except KeyboardInterrupt:
        print("interrupted; all processes are ended")
        return 130
    print(f"\n{verdict}", flush=True)
    if verdict.violations:
        print(f"seed {seed}, ledgers in {folder}")
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
