"""Issue texts: what a user would report about a bug, without giving the fix away."""

from synthesis.issues.context import IssueContext, IssueLeaks, IssueWriter, Reveal
from synthesis.issues.table import style_names
from synthesis.issues.test_source import TestModule
from synthesis.issues.write import write_issue

__all__ = ["IssueContext", "IssueLeaks", "IssueWriter", "Reveal", "TestModule", "style_names", "write_issue"]
