"""Train the student that ships with the package: one command, one seed, resumable.

    python tools/train_student.py --cache DIR [--output FOLDER]

48 procedural rooms (seeds 2000 to 2047, 48 frames each) with their objects as teacher; the last four only
measure. The 2D model in training is `segmenter:lite`, heard in words. Rendering and lifting take about 15
minutes of two cores, training as long as STEPS need. What lies in `src/purify3d/data/student` was made by it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOMS = "synthetic:2000..2047"
STEPS = 3000
SHIPPED = Path(__file__).resolve().parents[1] / "src" / "purify3d" / "data" / "student"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", required=True)
    parser.add_argument("--output", default=str(SHIPPED))
    args = parser.parse_args()
    command = ["train", ROOMS, "--teacher", "truth", "--steps", str(STEPS), "--hold-out", "4"]
    command += ["--seed", "0", "--lr", "0.002"]
    command += ["--cache", args.cache, "--output", args.output]
    sys.exit(subprocess.run([sys.executable, "-m", "purify3d.cli", *command]).returncode)


if __name__ == "__main__":
    main()
