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

),

fits as (

    select
        as_of_date,
        projected_12m_orders,
        projected_12m_orders_low,
        projected_12m_orders_high
    from {{ source('fitted', 'CUSTOMER_VALUE_FITS') }}

)

select
    backtests.rfm_segment,
    backtests.customers,
    backtests.horizon_days::number(38, 0) as horizon_days,
    backtests.predicted_orders::number(18, 2) as predicted_orders,
    backtests.standard_error::number(18, 2) as standard_error,
    backtests.actual_orders,
    backtests.last_period_orders,
    backtests.flat_rate_orders::number(18, 2) as flat_rate_orders,
    (backtests.predicted_orders / nullif(backtests.actual_orders, 0) - 1)::number(18, 6) as prediction_error,
    fits.projected_12m_orders::number(18, 2) as projected_12m_orders,
    fits.projected_12m_orders_low::number(18, 2) as projected_12m_orders_low,
    fits.projected_12m_orders_high::number(18, 2) as projected_12m_orders_high,
    -- Before a year has been seen nobody can tell a season from a trend.
    backtests.history_days - backtests.horizon_days >= 365 as is_judged,
    backtests.as_of_date
from backtests
left join fits on backtests.as_of_date = fits.as_of_date and backtests.rfm_segment = 'all'
