"""Runs: attempts to do something. A run that holds a task is a claim, and its lease ends unless its holder lives."""
