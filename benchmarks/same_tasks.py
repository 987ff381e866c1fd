"""Compare two datasets of the same repository, made on different sandboxes: the same tasks, the same failing tests?

python benchmarks/same_tasks.py boltons-local boltons-docker
"""

import argparse
import json
import sys
from pathlib import Path

import polars  # noqa: ICN001 - the name is short enough

COLUMNS = ["instance_id", "patch", "bug_patch", "FAIL_TO_PASS", "PASS_TO_PASS", "problem_statement"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    first, second = (read(folder) for folder in (options.first, options.second))
    reasons = [rejections(folder) for folder in (options.first, options.second)]
    report = {
        "tasks": [len(first), len(second)],
        "only_in_first": sorted(first.keys() - second.keys()),
        "only_in_second": sorted(second.keys() - first.keys()),
        "differing": {
            name: sum(first[one][name] != second[one][name] for one in first.keys() & second.keys())
            for name in COLUMNS[1:]
        },
        "rejections_differing": sum(
            reasons[0].get(one) != reasons[1].get(one) for one in reasons[0].keys() | reasons[1].keys()
        ),
    }
    print(json.dumps(report, indent=2))
    same = not (report["only_in_first"] or report["only_in_second"] or any(report["differing"].values()))
    sys.exit(0 if same and not report["rejections_differing"] else 1)


def read(folder: Path) -> dict[str, dict[str, object]]:
    rows = polars.scan_parquet(folder / "data" / "*.parquet").select(COLUMNS).collect().to_dicts()
    return {row["instance_id"]: row for row in rows}


def rejections(folder: Path) -> dict[str, str]:
    rows = polars.scan_parquet(folder / "rejected" / "*.parquet").select("candidate_id", "reason").collect()
    return dict(rows.iter_rows())


if __name__ == "__main__":
    main()
