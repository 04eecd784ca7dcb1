"""`shopstream doctor`: are the settings right, and does every service behind them answer and permit what is needed?

For the local stack and for production alike: it knows the environment variables, not where they come from.
"""
