"""What is asked of a writer, how its answers are read, and the gates they must pass."""
