"""The small language model that decides and explains."""
