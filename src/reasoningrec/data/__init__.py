"""From files to validated data, windows, evidence and cases."""
