"""Candidates, what is fitted for the decision, and the fused decision."""
