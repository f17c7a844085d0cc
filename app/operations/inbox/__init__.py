"""Everything that waits for the caller: what it says, where each section is read, and waiting until there is more."""
