"""The options of a job, in five groups: each is declared once, at its field."""
