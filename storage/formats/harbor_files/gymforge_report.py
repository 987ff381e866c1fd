"""A plugin of pytest that writes what becomes of each test to a file, a line each, whatever tests print."""

import json
import os


def pytest_configure(config):
    config.gymforge_report = open(os.environ["GYMFORGE_REPORT"], "w", encoding="utf-8")
    config.pluginmanager.register(Report(config.gymforge_report), "gymforge_report_lines")


class Report:
    def __init__(self, file):
        self.file = file

    def pytest_runtest_logreport(self, report):
        if report.failed:
            outcome = "failed"
        elif report.skipped or hasattr(report, "wasxfail"):
            outcome = "skipped"
        elif report.when == "call":
            outcome = "passed"
        else:
            return
        test = str(report.nodeid).encode("utf-8", "backslashreplace").decode()
        self.file.write(json.dumps([test, outcome]) + "\n")
        self.file.flush()
