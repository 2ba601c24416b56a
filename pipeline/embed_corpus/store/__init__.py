"""Where OUT lies, and how files get there."""
