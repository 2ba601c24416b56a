"""Tokenise documents once and cut token windows at word boundaries."""
