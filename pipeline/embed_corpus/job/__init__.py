"""The job: its configuration, its identity, its workers, and the run itself."""
