{{ config(materialized='table') }}

with backtests as (

    select
        as_of_date,
        rfm_segment,
        history_days,
        horizon_days,
        customers,
        predicted_orders,
        standard_error,
        actual_orders,
        last_period_orders,
        flat_rate_orders
    from {{ source('fitted', 'CUSTOMER_VALUE_BACKTEST') }}

)

select
    rfm_segment,
    customers,
    horizon_days::number(38, 0) as horizon_days,
    predicted_orders::number(18, 2) as predicted_orders,
    standard_error::number(18, 2) as standard_error,
    actual_orders,
    last_period_orders,
    flat_rate_orders::number(18, 2) as flat_rate_orders,
    (predicted_orders / nullif(actual_orders, 0) - 1)::number(18, 6) as prediction_error,
    -- Before a year has been seen nobody can tell a season from a trend.
    history_days - horizon_days >= 365 as is_judged,
    as_of_date
from backtests
