"""What simulated sources are made with: days and moments, names of people, and rows as declared tables."""
