{{ config(materialized='table') }}

with customers as (

    select
        customer_id,
        country,
        acquisition_channel
    from {{ ref('dim_customers') }}

),

sales as (

    select
        customer_id,
        date_trunc('month', order_date)::date as sales_month,
        count(*) as orders,
        sum(net_revenue) as net_revenue
    from {{ ref('fact_orders') }}
    where is_sale
    group by customer_id, date_trunc('month', order_date)::date

),

as_of as (

    {{ sales_as_of() }}

),

buyers as (

    select
        sales.customer_id,
        coalesce(customers.country, 'unknown') as country,
        coalesce(customers.acquisition_channel, 'unknown') as acquisition_channel,
        min(sales.sales_month) as cohort_month
    from sales
    left join customers on sales.customer_id = customers.customer_id
    group by sales.customer_id, customers.country, customers.acquisition_channel

),

cohorts as (

    select
        cohort_month,
        country,
        acquisition_channel,
        count(*) as buyers
    from buyers
    group by cohort_month, country, acquisition_channel

),

-- Up to the month that is going on, also those in which nobody came back; of later ones those with an order.
months as (

    select
        all_months.sales_month,
        dateadd('month', 1, all_months.sales_month)::date <= as_of.as_of_date as is_complete
    from (
        select date_trunc('month', date_day)::date as sales_month
        from {{ ref('dim_date') }}
        where date_day <= (select as_of.as_of_date from as_of)
        union
        select sales_month
        from sales
    ) as all_months
    cross join as_of

),

active as (

    select
        buyers.cohort_month,
        buyers.country,
        buyers.acquisition_channel,
        sales.sales_month,
        count(*) as active_customers,
        sum(sales.orders) as orders,
        sum(sales.net_revenue) as net_revenue
    from sales
    inner join buyers on sales.customer_id = buyers.customer_id
    group by buyers.cohort_month, buyers.country, buyers.acquisition_channel, sales.sales_month

)

select
    cohorts.country,
    cohorts.acquisition_channel,
    datediff('month', cohorts.cohort_month, months.sales_month)::number(38, 0) as months_since,
    cohorts.buyers::number(38, 0) as buyers,
    coalesce(active.active_customers, 0)::number(38, 0) as active_customers,
    coalesce(active.orders, 0)::number(38, 0) as orders,
    coalesce(active.net_revenue, 0)::number(18, 2) as net_revenue,
    months.is_complete,
    cohorts.cohort_month
from cohorts
inner join months on cohorts.cohort_month <= months.sales_month
left join active
    on
        cohorts.cohort_month = active.cohort_month
        and cohorts.country = active.country
        and cohorts.acquisition_channel = active.acquisition_channel
        and months.sales_month = active.sales_month
