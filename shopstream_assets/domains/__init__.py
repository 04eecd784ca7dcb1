"""The businesses on the platform: each knows the platform and itself only."""
