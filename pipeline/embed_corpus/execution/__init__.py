"""How a job is carried out: its workers, their loaders and writers, and the run itself."""
