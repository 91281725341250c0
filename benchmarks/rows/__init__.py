"""One module for each group of rows that share a run."""
