"""Messages: what was said in channels, and what waits for an answer."""
