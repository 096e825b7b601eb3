"""PoseTrack18 figures by joint beside those that poseval wrote for the same folders, as a markdown table.

    python scripts/compare_posetrack.py GROUND_TRUTH_DIR PREDICTIONS_DIR total_AP_metrics.json total_MOT_metrics.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from evaluators import posetrack_per_joint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ground_truth", type=Path, help="folder of PoseTrack18 files")
    parser.add_argument("predictions", type=Path, help="folder of files of the same names")
    parser.add_argument("precision", type=Path, help="poseval's total_AP_metrics.json")
    parser.add_argument("tracking", type=Path, help="poseval's total_MOT_metrics.json")
    options = parser.parse_args()
    start = time.perf_counter()
    ours = posetrack_per_joint(options.ground_truth, options.predictions)
    seconds = time.perf_counter() - start
    precision, tracking = json.loads(options.precision.read_text()), json.loads(options.tracking.read_text())
    columns = {"AP": precision["ap"], "AP_precision": precision["pre"], "AP_recall": precision["rec"]}
    columns |= {"MOTA": tracking["mota"], "MOTP": tracking["motp"]}
    columns |= {"precision": tracking["pre"], "recall": tracking["rec"]}
    print("| joint | " + " | ".join(columns) + " | greatest difference |\n|" + " --- |" * (len(columns) + 2))
    for row, joint in enumerate(ours["AP"]):
        values = [ours[name][joint] for name in columns]
        difference = max(abs(value - column[row]) for value, column in zip(values, columns.values(), strict=True))
        print(f"| {joint} | " + " | ".join(f"{value:.3f}" for value in values) + f" | {difference:.0e} |")
    print(f"\n{seconds:.1f} s, reading included")


if __name__ == "__main__":
    main()
