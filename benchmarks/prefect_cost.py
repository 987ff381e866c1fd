"""What Prefect adds to an ingestion: the command against the same steps called directly, turn about, medians.

python benchmarks/prefect_cost.py --rounds 5
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "examples" / "tinystats.bundle"
SETTINGS = ["--sandbox", "local", "--max-tasks", "1", "--strategies", "op_change", "--workers", "2"]
DIRECT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from flows.pipeline import Pipeline
from flows.settings import IngestSettings

source, out, cache = sys.argv[1:]
settings = IngestSettings(source=source, out=Path(out), sandbox="local", max_tasks=1, strategies=("op_change",),
                          workers=2, cache_dir=Path(cache))
if __name__ == "__main__":
    with Pipeline(settings) as pipeline:
        pipeline.acquire(); pipeline.prepare(); pipeline.synthesize(); pipeline.measure_impact()
        with ThreadPoolExecutor(2) as pool:
            for wave in pipeline.waves():
                list(pool.map(pipeline.validate, [wave] * 2))
        pipeline.write()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-prefect-") as name:
        folder = Path(name)
        script = folder / "direct.py"
        script.write_text(DIRECT)
        cache = folder / "cache"
        command = [str(Path(sys.executable).with_name("gymforge")), "ingest", str(SAMPLE), *SETTINGS, "--json", "--out"]
        first_s = timed([*command, str(folder / "first")], cache)
        with_s, without_s = [], []
        for number in range(options.rounds):
            with_s.append(timed([*command, str(folder / f"with-{number}")], cache))
            direct = [sys.executable, str(script), str(SAMPLE), str(folder / f"without-{number}"), str(cache)]
            without_s.append(timed(direct, cache))
    print(
        json.dumps(
            {
                "first_run_s": round(first_s, 1),
                "with_prefect_s": round(statistics.median(with_s), 1),
                "without_prefect_s": round(statistics.median(without_s), 1),
                "prefect_adds_s": round(statistics.median(with_s) - statistics.median(without_s), 1),
                "rounds": options.rounds,
                "load_average": round(os.getloadavg()[0], 2),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "date": datetime.now(UTC).date().isoformat(),
            },
            indent=2,
        )
    )


def timed(command: list[str], cache: Path) -> float:
    started = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    subprocess.run(command, check=True, capture_output=True, env=environment | {"GYMFORGE_CACHE_DIR": str(cache)})
    return time.monotonic() - started


if __name__ == "__main__":
    main()
