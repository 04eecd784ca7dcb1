"""What a customer will be worth: a fitted model of who comes back, how often, and for how much.

`history` is what is known of customers, as arrays; `market` the pace of the whole shop; `repeats` the orders after the
first, `first_order` the way to it, `spend` the value of an order; `model` fits and projects them together, `backtest`
says how well that would have done. None of them knows the warehouse or Dagster: `warehouse` reads and writes, `asset`
is the step. They load numpy and scipy, so definitions import `asset` alone.
"""
