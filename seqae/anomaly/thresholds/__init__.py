"""From scores of normal data to a threshold, and how far its false-alarm rate can be trusted."""
