"""The doors: each derived from the list of operations, none with a rule of its own."""
