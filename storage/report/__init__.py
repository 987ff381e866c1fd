"""A static site that shows a dataset: `site.write_report` makes it from facts and tasks that are handed in.

Pages are jinja2 templates with autoescape; tasks are data that the pages' scripts load and show as text, never as
markup. Imports jinja2, pygments, markdown-it-py and unidiff where they are used.
"""
