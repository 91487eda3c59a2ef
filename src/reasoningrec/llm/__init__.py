"""Who writes texts, and how a text's stance is read."""
