"""The line from raw rows to a report, stage by stage, each resumable."""
