"""Held-out examples -> predictions -> statistics of each -> scores with intervals, a file a family of tasks."""
