"""Tiny random models of every family, against sentence-transformers."""
