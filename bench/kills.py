"""Everything that is killed at its steps, in each of its parts: all tests of tests/crash.

``./check`` runs a sample of them. Prints JSON: how many passed, which failed, and how long each
module took. ``--quick`` runs the deletions alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

CLONE = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the deletions alone")
    module = "test_delete.py" if parser.parse_args().quick else ""
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [CLONE / "check", f"crash/{module}", f"--junitxml={report}"],
            env={**os.environ, "TENANTRY_TEST_KILLS": "all"},
            stdout=sys.stderr,
            check=False,
        )
        # It is our own pytest's.
        cases = [*ET.parse(report).iter("testcase")] if report.exists() else []  # noqa: S314
    seconds: Counter[str] = Counter()
    failed = []
    for case in cases:
        seconds[case.get("classname", "")] += round(float(case.get("time", 0)))
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    reported = {
        "benchmark": "kills",
        "kills": len(cases),
        "failed": failed,
        "seconds": round(time.monotonic() - began),
        "seconds_of_modules": dict(seconds.most_common()),
    }
    print(json.dumps(reported, indent=2))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
