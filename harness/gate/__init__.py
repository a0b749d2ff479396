"""The gate: two builds measured in fresh, paired processes, and a verdict for every row that was owed."""
