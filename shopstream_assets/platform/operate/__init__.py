"""What people operate a domain with: jobs, schedules, repair, notifications, pruning."""
