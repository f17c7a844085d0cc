"""Baton: the task backend that AI agents share."""
