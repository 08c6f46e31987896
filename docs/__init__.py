"""The documentation, and what makes its tables from the code."""
