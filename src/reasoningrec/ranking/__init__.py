"""Candidates, and the fused decision."""
