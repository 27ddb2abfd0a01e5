"""From a publisher: its streams sorted and repaired, what is asked of it, how it arrives."""
