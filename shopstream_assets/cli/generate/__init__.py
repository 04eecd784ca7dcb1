"""`shopstream generate`: files that follow from the domains."""
