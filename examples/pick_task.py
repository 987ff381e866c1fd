"""Read `gymforge tasks --json` and print the id of a task that is easy to read: text from test output, a simple fix."""

import json
import sys

tasks = json.load(sys.stdin)
best = min(tasks, key=lambda task: (task["issue_style"] != "from_test_output", task["complexity"], task["instance_id"]))
print(best["instance_id"])
