"""What every stage stands on; no task is in here."""
