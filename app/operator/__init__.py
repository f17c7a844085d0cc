"""What an operator does, at the command line: workspaces, users, agents, keys, channels, and the database's upkeep."""
