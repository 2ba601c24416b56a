"""What is asked for: the configuration, its identity, and what is settled before the first batch."""
