"""Passes over the vocabulary in C, for those who have a compiler; NumPy does the same without."""
