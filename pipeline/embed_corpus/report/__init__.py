"""What a run tells: progress while it lasts, numbers at its end."""
