"""Many series at once: one model for all or one for each, their folder on disk, and what needs attention first."""
