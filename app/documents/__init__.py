"""What is written about the operations, for people, agents and machines. Nothing that serves imports any of it."""
