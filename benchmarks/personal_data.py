"""Count what the gate for personal data finds in datasets and in Python's own library, and show it.

    python -m benchmarks.personal_data [DIR...] --show 20

For each dataset in DIR: the tasks that the gate would keep out. For the library, with its tests, line by line: how many
lines hold each kind, and two kinds that the gate leaves alone, to show why: IPv4 addresses that are public, and
telephone numbers as they are written within the United States. What is shown is for whoever judges it.
"""

import argparse
import ipaddress
import random
import re
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import phonenumbers

from task_registry import Registry
from task_registry.gates import GateSettings
from task_registry.gates.personal_data import check, kinds

_IPV4 = re.compile(r"(?<![\w.\-])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", type=Path)
    parser.add_argument("--show", type=int, default=0, help="Lines of each kind to show, drawn by chance.")
    arguments = parser.parse_args()
    for dataset in arguments.datasets:
        facts = Registry.open(dataset).facts()
        found = check(facts, GateSettings())
        print(f"{dataset.name}: {len(facts)} tasks, {len(found)} stay out")
        for name, finding in sorted(found.items()):
            print(f"  {name}: {finding.detail}")
    count_lines(Path(sysconfig.get_path("stdlib")), shown=arguments.show)


def count_lines(root: Path, *, shown: int) -> None:
    looked_for: Mapping[str, Callable[[str], bool]] = {**kinds(), "(public IPv4)": has_ipv4, "(US phone)": has_us_phone}
    found: dict[str, list[str]] = defaultdict(list)
    lines = 0
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            lines += 1
            for kind, holds in looked_for.items():
                if holds(line):
                    found[kind].append(f"{path.name}: {line.strip()[:120]}")
    print(f"{lines:,} lines of the library: " + ", ".join(f"{kind} {len(found[kind])}" for kind in looked_for))
    for kind in looked_for:
        for one in random.Random(0).sample(found[kind], min(shown, len(found[kind]))):
            print(f"  {kind}: {one}")


def has_ipv4(text: str) -> bool:
    for one in _IPV4.findall(text):
        try:
            if ipaddress.ip_address(one).is_global:
                return True
        except ValueError:
            continue
    return False


def has_us_phone(text: str) -> bool:
    strict = phonenumbers.Leniency.STRICT_GROUPING
    return any("+" not in one.raw_string for one in phonenumbers.PhoneNumberMatcher(text, "US", leniency=strict))


if __name__ == "__main__":
    main()
