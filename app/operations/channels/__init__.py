"""Channels: where people and agents talk, and who is in them."""
