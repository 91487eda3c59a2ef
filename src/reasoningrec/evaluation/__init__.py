"""Measures over predictions and explanations, whoever wrote them, and the report that shows them."""
