"""Read `gymforge tasks --json` and print the id of a task worth showing: text from test output, several failures."""

import json
import sys

tasks = json.load(sys.stdin)
best = max(
    tasks, key=lambda task: (task["issue_style"] == "from_test_output", task["fail_to_pass"] > 1, task["complexity"])
)
print(best["instance_id"])
