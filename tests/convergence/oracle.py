"""What every layer must hold once automation is at rest, computed by plain SQL from the shop's own tables.

Nothing here is taken from the platform: the rules are written out again, and the figures follow docs/marts.md. Times
come back without a zone, in UTC, as Snowflake keeps them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any

Rows = Sequence[Mapping[str, Any]]

_CREATED = "created_at >= '0001-01-01' and created_at < '10000-01-01'"
# NaN is greater than every number.
_MONEY = "{0} >= 0 and {0} < 10000000000"


def _money(*columns: str) -> str:
    return " and ".join(_MONEY.format(column) for column in columns)


VALID = {
    "users": f"country ~ '^[A-Z]{{2}}$' and {_CREATED}",
    "products": f"{_money('price', 'cost')} and {_CREATED}",
    "orders": "status in ('pending', 'paid', 'shipped', 'delivered', 'cancelled', 'refunded') and "
    f"currency ~ '^[A-Z]{{3}}$' and {_money('discount_amount', 'shipping_amount', 'total_amount')} and {_CREATED}",
    "order_items": f"quantity >= 1 and {_money('unit_price', 'coalesce(unit_cost, 0)')} and {_CREATED} "
    f"and coalesce(returned_quantity, 0) between 0 and quantity and {_money('coalesce(returned_amount, 0)')}",
    "events": "event_type in ('signup', 'page_view', 'product_view', 'add_to_cart', 'checkout', 'purchase')",
    "crm_contacts": _CREATED,
    "exchange_rates": "currency ~ '^[A-Z]{3}$' and currency <> 'EUR' and eur_per_unit > 0 "
    f"and eur_per_unit < 10000000000 and {_CREATED}",
}
COLUMNS = {
    "users": "id, email, first_name, last_name, country, plan, acquisition_channel, "
    "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
    "products": "id, sku, name, category, price, cost, is_active, "
    "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
    "orders": "id, user_id, status, currency, discount_amount, shipping_amount, total_amount, shipping_country, "
    "payment_method, created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
    "order_items": "id, order_id, product_id, quantity, unit_price, unit_cost, returned_quantity, returned_amount, "
    "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
    "events": "id, user_id, session_id::text as session_id, event_type, product_id, order_id, "
    "properties::text as properties, occurred_at at time zone 'UTC' as occurred_at",
    "exchange_rates": "id, currency, valid_from, eur_per_unit, "
    "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
    "crm_contacts": "id, user_id, email, company, lead_source, lifecycle_stage, owner, "
    "created_at at time zone 'UTC' as created_at, updated_at at time zone 'UTC' as updated_at",
}
CURSORS = {name: "occurred_at" if name == "events" else "updated_at" for name in VALID}

# Every figure below is made of these, one per table: the rows that must have arrived.
_FACTS = """
dim_exchange_rates as (
    select distinct on (currency, valid_from) id as rate_id, currency, valid_from as valid_from_date,
           (select min(later.valid_from) from exchange_rates as later
            where later.currency = r.currency and later.valid_from > r.valid_from) as valid_until_date,
           eur_per_unit, updated_at
    from exchange_rates as r order by currency, valid_from, id desc
),
rated as (
    select o.*, e.eur_per_unit, coalesce(e.eur_per_unit is not null
               and o.status in ('paid', 'shipped', 'delivered', 'refunded'), false) as is_sale
    from orders as o cross join lateral (
        select case when o.currency = 'EUR' then 1 else (
            select r.eur_per_unit from exchange_rates as r
            where r.currency = o.currency and r.valid_from <= o.created_at::date
            order by r.valid_from desc, r.id desc limit 1
        ) end as eur_per_unit
    ) as e
),
lines as (
    select i.*, round(i.quantity * i.unit_price * o.eur_per_unit, 2) as line_amount, o.currency,
           coalesce(i.unit_cost, p.cost) as cost, i.unit_cost is not null as has_own_cost,
           coalesce(i.returned_quantity, 0) as back,
           round(coalesce(i.returned_amount, 0) * o.eur_per_unit, 2) as given_back, o.eur_per_unit,
           round(o.discount_amount * o.eur_per_unit, 2) as order_discount, o.user_id as customer_id,
           coalesce(o.status, 'unknown') as order_status, coalesce(o.is_sale, false) as is_sale,
           coalesce(o.created_at, i.created_at)::date as order_date, coalesce(o.created_at, i.created_at) as ordered_at
    from order_items as i left join rated as o on o.id = i.order_id left join products as p on p.id = i.product_id
),
lines_per_order as (
    select order_id, count(*) as line_count, sum(quantity) as units, sum(line_amount) as items_amount,
           sum(case when order_status = 'refunded' then quantity else back end) as back, sum(given_back) as given_back
    from lines group by order_id
),
fact_orders as (
    select o.id as order_id, o.user_id as customer_id, o.status, o.currency, o.shipping_country, o.payment_method,
           coalesce(l.line_count, 0) as line_count, coalesce(l.units, 0) as units,
           case when o.eur_per_unit is not null then s.items end as items_amount, s.discount as order_discount,
           round(o.shipping_amount * o.eur_per_unit, 2) as shipping_amount,
           round(o.total_amount * o.eur_per_unit, 2) as total_amount, o.eur_per_unit,
           case when o.is_sale then s.items else 0 end as gross_revenue,
           case when o.is_sale then s.discount else 0 end as discount_amount,
           case when o.is_sale then coalesce(l.back, 0) else 0 end as units_refunded,
           case when o.is_sale then s.given_back else 0 end as refunded_amount,
           case when o.is_sale then s.items - s.discount - s.given_back else 0 end as net_revenue,
           o.is_sale, o.created_at::date as order_date, o.created_at as ordered_at, o.updated_at
    from rated as o
    left join lines_per_order as l on l.order_id = o.id
    cross join lateral (
        select t.items, t.discount,
               case when o.status = 'refunded' then t.items - t.discount
                    else coalesce(l.given_back, 0) end as given_back
        from (
            select coalesce(l.items_amount, 0) as items, round(o.discount_amount * o.eur_per_unit, 2) as discount
        ) as t
    ) as s
),
cents as (
    select *, coalesce(line_amount, 0) * 100 as c, coalesce(order_discount, 0) * 100 as d,
           sum(coalesce(line_amount, 0) * 100) over (partition by order_id order by id) as up_to,
           sum(coalesce(line_amount, 0) * 100) over (partition by order_id) as t,
           row_number() over (partition by order_id order by coalesce(line_amount, 0) desc, id) = 1 as is_main_line
    from lines
),
shared as (
    select *, case when line_amount is null then null
                   when t = 0 then case when is_main_line then d else 0 end
                   else floor((2 * d * up_to + t) / (2 * t)) - floor((2 * d * (up_to - c) + t) / (2 * t))
              end / 100 as discount_share
    from cents
),
fact_order_items as (
    select id as line_id, order_id, product_id, customer_id, order_status, currency, quantity,
           back as returned_quantity, coalesce(returned_amount, 0) as returned_amount,
           case when is_sale then quantity else 0 end as units_sold,
           case when not is_sale then 0 when order_status = 'refunded' then quantity else back end as units_refunded,
           unit_price, cost as unit_cost, has_own_cost,
           case when not is_sale or order_status = 'refunded' then 0
                when back = quantity and line_amount - discount_share = given_back then 0
                else (quantity - back) * cost end as cost_of_goods,
           line_amount, discount_share,
           case when is_sale then line_amount else 0 end as gross_revenue,
           case when is_sale then discount_share else 0 end as discount_amount,
           case when not is_sale then 0 when order_status = 'refunded' then line_amount - discount_share
                else given_back end as refunded_amount,
           case when is_sale and order_status <> 'refunded' then line_amount - discount_share - given_back else 0 end
               as net_revenue,
           is_sale, is_main_line, order_date, ordered_at, updated_at
    from shared
),
fact_events as (
    select id as event_id, user_id as customer_id, session_id, product_id, order_id, event_type,
           properties::json ->> 'device' as device, properties::json ->> 'page' as page,
           properties::json ->> 'referrer' as referrer, occurred_at::date as event_date, occurred_at
    from events
),
dim_customers as (
    select u.id as customer_id, c.id as crm_contact_id, u.country, u.plan, u.acquisition_channel,
           c.company as crm_company, c.lead_source as crm_lead_source, c.lifecycle_stage as crm_lifecycle_stage,
           c.owner as crm_owner, c.id is not null as has_crm_contact, u.created_at::date as signup_date,
           u.created_at as signed_up_at, u.updated_at
    from users as u
    left join lateral (
        select * from crm_contacts where user_id = u.id order by updated_at desc, id desc limit 1
    ) as c on true
),
dim_products as (
    select id as product_id, sku, name as product_name, category as product_category, price as list_price,
           cost as unit_cost, is_active, created_at, updated_at
    from products
),
dim_date as (
    select generate_series(
        date_trunc('year', min(day)::timestamp),
        date_trunc('year', max(day)::timestamp) + interval '2 years' - interval '1 day', interval '1 day'
    )::date as date_day
    from (
        select date '{start}' as day union all select order_date from fact_orders
        union all select event_date from fact_events union all select signup_date from dim_customers
    ) as dates
),
order_lines as (
    select o.order_id, o.customer_id, coalesce(o.shipping_country, 'unknown') as shipping_country,
           coalesce(p.category, 'unknown') as product_category,
           coalesce(i.units_sold - i.units_refunded, 0) as units_kept,
           case when i.line_id is null then 0 else i.cost_of_goods end as cost,
           i.unit_cost, i.line_id is not null as has_line, coalesce(i.units_sold, 0) as units_sold,
           coalesce(i.units_refunded, 0) as units_refunded,
           coalesce(i.gross_revenue, o.gross_revenue) as gross_revenue,
           coalesce(i.discount_amount, o.discount_amount) as discount_amount,
           coalesce(i.refunded_amount, o.refunded_amount) as refunded_amount,
           coalesce(i.net_revenue, o.net_revenue) as net_revenue,
           o.is_sale, coalesce(i.is_main_line, true) as is_main_line, o.order_date
    from fact_orders as o
    left join fact_order_items as i on i.order_id = o.order_id
    left join products as p on p.id = i.product_id
),
mart_sales_overview as (
    select shipping_country, product_category, count(distinct order_id) filter (where is_main_line) as orders_placed,
           count(distinct order_id) filter (where is_sale and is_main_line) as orders,
           count(distinct order_id) filter (where is_sale) as orders_with_category,
           count(distinct customer_id) filter (where is_sale) as buyers_with_category,
           sum(units_sold) as units, sum(units_refunded) as units_refunded,
           coalesce(sum(units_kept) filter (where cost is null), 0) as units_without_cost,
           sum(gross_revenue) as gross_revenue,
           sum(discount_amount) as discount_amount, sum(refunded_amount) as refunded_amount,
           sum(net_revenue) as net_revenue,
           coalesce(sum(net_revenue) filter (where cost is not null), 0) as net_revenue_with_cost,
           sum(net_revenue - cost) as margin,
           order_date
    from order_lines group by shipping_country, product_category, order_date
),
returns as (
    select i.order_id, i.line_id, i.product_id, i.unit_cost, r.units,
           round(r.upto * o.eur_per_unit, 2) - round(r.before * o.eur_per_unit, 2) as amount,
           least(r.refunded_at, w.refunded_at) as refunded_at
    from ({returns}) as r
    join fact_order_items as i on i.line_id = r.line_id and i.is_sale
    join fact_orders as o on o.order_id = i.order_id
    left join ({refunds}) as w on w.order_id = i.order_id and i.order_status = 'refunded'
),
given_back as (
    select * from returns
    union all
    select i.order_id, i.line_id, i.product_id, i.unit_cost,
           i.units_refunded - coalesce((select sum(units) from returns as r where r.line_id = i.line_id), 0),
           i.refunded_amount - coalesce((select sum(amount) from returns as r where r.line_id = i.line_id), 0),
           w.refunded_at
    from fact_order_items as i join ({refunds}) as w on w.order_id = i.order_id
    where i.is_sale and i.order_status = 'refunded'
    union all
    select o.order_id, 0, null, null, 0, o.refunded_amount, w.refunded_at
    from fact_orders as o join ({refunds}) as w on w.order_id = o.order_id
    where o.is_sale and o.status = 'refunded' and o.line_count = 0
),
fact_refunds as (
    select o.order_id, g.line_id, g.product_id, o.customer_id, o.shipping_country, g.unit_cost, g.units_refunded,
           g.refunded_amount,
           row_number() over (partition by o.order_id order by g.refunded_at, g.line_id) = 1 as is_first_of_order,
           o.order_date, o.ordered_at, g.refunded_date, g.refunded_at
    from fact_orders as o join (
        select order_id, line_id, product_id, unit_cost, refunded_at::date as refunded_date,
               sum(units) as units_refunded, sum(amount) as refunded_amount, min(refunded_at) as refunded_at
        from given_back where units <> 0 or amount <> 0 or line_id = 0
        group by order_id, line_id, product_id, unit_cost, refunded_at::date
    ) as g on g.order_id = o.order_id
),
entries as (
    select order_id, shipping_country, product_category, units_sold as units, 0 as units_refunded, gross_revenue,
           discount_amount, 0 as refunded_amount, is_sale and is_main_line as is_order, false as is_refund, unit_cost,
           has_line, order_date as booked_date
    from order_lines
    union all
    select r.order_id, coalesce(r.shipping_country, 'unknown'), coalesce(p.category, 'unknown'), 0, r.units_refunded,
           0, 0, r.refunded_amount, false, r.is_first_of_order, r.unit_cost,
           r.line_id <> 0, r.refunded_date
    from fact_refunds as r left join products as p on p.id = r.product_id
),
mart_sales_as_booked as (
    select shipping_country, product_category, count(*) filter (where is_order) as orders,
           count(*) filter (where is_refund) as orders_refunded, sum(units) as units,
           sum(units_refunded) as units_refunded, sum(gross_revenue) as gross_revenue,
           sum(discount_amount) as discount_amount, sum(refunded_amount) as refunded_amount, sum(net) as net_revenue,
           coalesce(sum(net) filter (where cost is not null), 0) as net_revenue_with_cost, sum(net - cost) as margin,
           booked_date
    from (
        select *, gross_revenue - discount_amount - refunded_amount as net,
               case when has_line then (units - units_refunded) * unit_cost else 0 end as cost
        from entries
    ) as costed
    group by shipping_country, product_category, booked_date
),
fact_sessions as (
    select s.session_id, coalesce(f.device, 'unknown') as device, coalesce(f.referrer, 'unknown') as referrer,
           s.event_count, s.has_view, s.has_cart, s.has_checkout, s.has_purchase, s.started_at::date as session_date,
           s.started_at, s.ended_at
    from (
        select session_id, count(*) as event_count, bool_or(event_type = 'product_view') as has_view,
               bool_or(event_type = 'add_to_cart') as has_cart, bool_or(event_type = 'checkout') as has_checkout,
               bool_or(event_type = 'purchase') as has_purchase, min(occurred_at) as started_at,
               max(occurred_at) as ended_at
        from fact_events where session_id is not null group by session_id
    ) as s
    join lateral (
        select device, referrer from fact_events as e where e.session_id = s.session_id
        order by occurred_at, event_id limit 1
    ) as f on true
),
mart_session_funnel as (
    select device, referrer, count(*) as sessions, count(*) filter (where has_view) as sessions_with_view,
           count(*) filter (where has_cart) as sessions_with_cart,
           count(*) filter (where has_checkout) as sessions_with_checkout,
           count(*) filter (where has_purchase) as sessions_with_purchase,
           count(*) filter (where has_cart and not has_purchase) as carts_abandoned, session_date
    from fact_sessions group by device, referrer, session_date
),
first_orders as (
    select u.country, u.acquisition_channel, u.created_at::date as signup_date,
           (select min(o.ordered_at) from fact_orders as o
            where o.customer_id = u.id and o.ordered_at >= u.created_at) - u.created_at as waited,
           (select max(at)::date from (select max(updated_at) as at from users
                                       union all select max(updated_at) from orders) as newest) as as_of_date
    from users as u
),
mart_signup_conversion as (
    select country, acquisition_channel, count(*) as signed_up,
           count(*) filter (where waited < interval '7 days') as ordered_within_7d,
           count(*) filter (where waited < interval '30 days') as ordered_within_30d,
           count(*) filter (where waited < interval '90 days') as ordered_within_90d,
           signup_date + 7 < as_of_date as is_complete_7d, signup_date + 30 < as_of_date as is_complete_30d,
           signup_date + 90 < as_of_date as is_complete_90d, signup_date
    from first_orders group by country, acquisition_channel, signup_date, as_of_date
),
buyers as (
    select f.customer_id, coalesce(u.country, 'unknown') as country,
           coalesce(u.acquisition_channel, 'unknown') as acquisition_channel,
           date_trunc('month', min(f.order_date))::date as cohort_month
    from fact_orders as f left join users as u on u.id = f.customer_id where f.is_sale group by 1, 2, 3
),
mart_customer_retention as (
    select b.country, b.acquisition_channel, m.months_since, count(distinct b.customer_id) as buyers,
           count(distinct o.customer_id) as active_customers, count(o.order_id) as orders,
           coalesce(sum(o.net_revenue), 0) as net_revenue,
           b.cohort_month + (m.months_since + 1) * interval '1 month' <= max(t.as_of_date) as is_complete,
           b.cohort_month
    from buyers as b
    cross join (select max(as_of_date) as as_of_date from (
        select max(updated_at)::date as as_of_date from users union all select max(updated_at)::date from orders
    ) as newest) as t
    cross join generate_series(0, 400) as m (months_since)
    left join fact_orders as o on o.customer_id = b.customer_id and o.is_sale
        and date_trunc('month', o.order_date) = b.cohort_month + m.months_since * interval '1 month'
    where b.cohort_month + m.months_since * interval '1 month' <= t.as_of_date
        or b.cohort_month + m.months_since * interval '1 month' in (
            select date_trunc('month', order_date) from fact_orders where is_sale
        )
    group by b.country, b.acquisition_channel, m.months_since, b.cohort_month
),
product_sales as (
    select product_id, count(distinct order_id) filter (where is_sale) as orders, sum(units_sold) as units,
           sum(units_refunded) as units_refunded, sum(gross_revenue) as gross_revenue,
           sum(discount_amount) as discount_amount, sum(refunded_amount) as refunded_amount,
           sum(net_revenue) as net_revenue,
           sum(case when cost_of_goods is null then units_sold - units_refunded else 0 end) as units_without_cost,
           coalesce(sum(net_revenue) filter (where cost_of_goods is not null), 0) as net_revenue_with_cost,
           sum(net_revenue - cost_of_goods) as margin
    from fact_order_items group by product_id
),
mart_product_months as (
    select s.product_id, coalesce(p.product_category, 'unknown') as product_category, orders, units, units_refunded,
           units_without_cost, gross_revenue, discount_amount, refunded_amount, net_revenue, margin, sales_month
    from (
        select product_id, date_trunc('month', order_date)::date as sales_month, count(distinct order_id) as orders,
               sum(units_sold) as units, sum(units_refunded) as units_refunded, sum(gross_revenue) as gross_revenue,
               sum(discount_amount) as discount_amount, sum(refunded_amount) as refunded_amount,
               sum(net_revenue) as net_revenue, sum(net_revenue - cost_of_goods) as margin,
               sum(case when cost_of_goods is null then units_sold - units_refunded else 0 end) as units_without_cost
        from fact_order_items where is_sale group by 1, 2
    ) as s
    left join dim_products as p using (product_id)
),
interest as (
    select product_id, count(*) filter (where event_type = 'product_view') as views,
           count(*) filter (where event_type = 'add_to_cart') as carts,
           count(distinct session_id) filter (where event_type = 'product_view') as viewing_sessions
    from fact_events where product_id is not null group by product_id
),
converted as (
    select v.product_id, count(distinct v.session_id) as ordering_sessions
    from fact_events as v
    join fact_events as b on b.session_id = v.session_id and b.event_type = 'purchase'
    join fact_order_items as i on i.order_id = b.order_id and i.product_id = v.product_id
    where v.event_type = 'product_view' group by v.product_id
),
product_figures as (
    select k.product_id, coalesce(p.sku, 'unknown') as sku, coalesce(p.product_name, 'unknown') as product_name,
           coalesce(p.product_category, 'unknown') as product_category, p.list_price, p.unit_cost,
           coalesce(s.orders, 0) as orders, coalesce(s.units, 0) as units,
           coalesce(s.units_refunded, 0) as units_refunded, coalesce(s.gross_revenue, 0) as gross_revenue,
           coalesce(s.discount_amount, 0) as discount_amount, coalesce(s.refunded_amount, 0) as refunded_amount,
           coalesce(s.net_revenue, 0) as net_revenue, coalesce(s.units_without_cost, 0) as units_without_cost,
           coalesce(s.net_revenue_with_cost, 0) as net_revenue_with_cost,
           case when s.product_id is null then 0 else s.margin end as margin, coalesce(n.views, 0) as views,
           coalesce(n.carts, 0) as carts, coalesce(n.viewing_sessions, 0) as viewing_sessions,
           coalesce(c.ordering_sessions, 0) as ordering_sessions,
           coalesce(p.is_active, false) as is_active
    from (
        select product_id from dim_products union select product_id from product_sales
        union select product_id from interest
    ) as k
    left join dim_products as p using (product_id)
    left join product_sales as s using (product_id)
    left join interest as n using (product_id)
    left join converted as c using (product_id)
),
mart_product_performance as (
    select product_id, sku, product_name, product_category, list_price, unit_cost, orders, units, units_refunded,
           gross_revenue, discount_amount, refunded_amount, net_revenue,
           units_without_cost, net_revenue_with_cost, margin,
           case when net_revenue_with_cost > 0 then margin / net_revenue_with_cost end as margin_rate,
           case when units >= 30 then units_refunded::numeric / units end as refund_rate, views, carts,
           viewing_sessions, ordering_sessions,
           case when viewing_sessions >= 30 then ordering_sessions::numeric / viewing_sessions end
               as view_to_order_rate,
           row_number() over (order by net_revenue desc, product_id) as revenue_rank,
           net_revenue / nullif(sum(net_revenue) over (), 0) as revenue_share, is_active
    from product_figures
),
customer_sales as (
    select customer_id, count(*) as orders, sum(gross_revenue - discount_amount) as ordered_amount,
           sum(net_revenue) as net_revenue, min(order_date) as first_order_date, max(order_date) as last_order_date
    from fact_orders where is_sale group by customer_id
),
costs as (
    select customer_id, coalesce(sum(cost_of_goods), 0) as cost,
           coalesce(sum(units_sold - units_refunded) filter (where cost_of_goods is null), 0) as units_without_cost,
           coalesce(sum(net_revenue) filter (where cost_of_goods is null), 0) as revenue_without_cost,
           bool_and(cost_of_goods is null) as no_cost_is_known
    from fact_order_items group by customer_id
),
as_of as (
    select max(at)::date as as_of_date from (
        select updated_at as at from dim_customers union all select updated_at from fact_orders
        union all select occurred_at from fact_events
    ) as changes
),
history as (
    select k.customer_id, coalesce(c.country, 'unknown') as country, coalesce(c.plan, 'unknown') as plan,
           coalesce(c.acquisition_channel, 'unknown') as acquisition_channel, coalesce(s.orders, 0) as orders,
           coalesce(s.ordered_amount, 0) as ordered_amount, coalesce(s.net_revenue, 0) as net_revenue,
           coalesce(o.units_without_cost, 0) as units_without_cost,
           case when not coalesce(o.no_cost_is_known, false) then
               coalesce(s.net_revenue, 0) - coalesce(o.revenue_without_cost, 0) - coalesce(o.cost, 0)
           end as margin, c.signup_date, s.first_order_date,
           s.last_order_date, a.as_of_date,
           greatest(1 + (a.as_of_date - least(c.signup_date, s.first_order_date)), 1) as days_observed
    from (select customer_id from dim_customers union select customer_id from customer_sales) as k
    cross join as_of as a
    left join dim_customers as c using (customer_id)
    left join customer_sales as s using (customer_id)
    left join costs as o using (customer_id)
),
ranked as (
    select customer_id, count(*) over () as n, rank() over (order by last_order_date) as r,
           rank() over (order by orders) as f, rank() over (order by net_revenue) as v
    from history where orders > 0
),
scores as (
    select customer_id, 1 + 5 * (r - 1) / n as recency_score, 1 + 5 * (f - 1) / n as frequency_score,
           1 + 5 * (v - 1) / n as monetary_score
    from ranked
),
mart_customer_ltv as (
    select h.customer_id, h.country, h.plan, h.acquisition_channel,
           case when s.customer_id is null then 'no_orders'
                when recency_score >= 4 and frequency_score >= 4 then 'champions'
                when recency_score >= 3 and frequency_score >= 3 then 'loyal'
                when recency_score >= 4 then 'new_or_promising'
                when recency_score = 3 then 'needs_attention'
                when frequency_score >= 3 then 'at_risk' else 'hibernating' end as rfm_segment,
           h.orders, h.net_revenue, h.units_without_cost, h.margin,
           h.ordered_amount / nullif(h.orders, 0) as average_order_value,
           h.days_observed,
           case when h.days_observed >= 30 then 365.0 * h.orders / h.days_observed end as orders_per_year,
           s.recency_score, s.frequency_score, s.monetary_score, h.signup_date, h.first_order_date, h.last_order_date,
           h.as_of_date
    from history as h left join scores as s using (customer_id)
)
"""


@dataclass(frozen=True)
class Model:
    """A table that dbt builds: its key, and the columns that are rounded, with how far they may be off."""

    relation: str
    key: tuple[str, ...]
    rounded: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.relation.partition(".")[2].lower()


# What mart_customer_ltv takes as it is from the latest fit, with how far rounding may be off.
PROJECTED = {
    "p_alive": 1e-6,
    "projected_12m_orders": 1e-6,
    "projected_12m_orders_low": 0.0,
    "projected_12m_orders_high": 0.0,
    "projected_12m_revenue": 0.01,
    "projected_12m_margin": 0.01,
    "projected_12m_margin_low": 0.01,
    "projected_12m_margin_high": 0.01,
}

MODELS = (
    Model("CORE.FACT_ORDERS", ("order_id",)),
    Model("CORE.FACT_ORDER_ITEMS", ("line_id",)),
    Model("CORE.FACT_REFUNDS", ("order_id", "line_id", "refunded_date")),
    Model("CORE.FACT_EVENTS", ("event_id",)),
    Model("CORE.FACT_SESSIONS", ("session_id",)),
    Model("CORE.DIM_CUSTOMERS", ("customer_id",)),
    Model("CORE.DIM_PRODUCTS", ("product_id",)),
    Model("CORE.DIM_EXCHANGE_RATES", ("currency", "valid_from_date")),
    Model("CORE.DIM_DATE", ("date_day",)),
    Model("MARTS.MART_SALES_OVERVIEW", ("order_date", "shipping_country", "product_category")),
    Model("MARTS.MART_SALES_AS_BOOKED", ("booked_date", "shipping_country", "product_category")),
    Model("MARTS.MART_SESSION_FUNNEL", ("session_date", "device", "referrer")),
    Model("MARTS.MART_CUSTOMER_RETENTION", ("cohort_month", "months_since", "country", "acquisition_channel")),
    Model("MARTS.MART_SIGNUP_CONVERSION", ("signup_date", "country", "acquisition_channel")),
    Model(
        "MARTS.MART_PRODUCT_PERFORMANCE",
        ("product_id",),
        {"margin_rate": 1e-6, "refund_rate": 1e-6, "view_to_order_rate": 1e-6, "revenue_share": 1e-6},
    ),
    Model(
        "MARTS.MART_CUSTOMER_LTV",
        ("customer_id",),
        {
            "average_order_value": 0.01,
            "orders_per_year": 1e-5,
            **PROJECTED,
        },
    ),
)


def with_projections(customers: Rows, fitted: Rows) -> list[dict[str, Any]]:
    """The expected rows of mart_customer_ltv with what the fit's table says of each; a fit is nobody's oracle."""
    known = {row["customer_id"]: row for row in fitted}
    nothing = {name: None for name in (*PROJECTED, "as_of_date")}
    rows = []
    for customer in customers:
        projection = known.get(customer["customer_id"], nothing)
        taken = {name: projection[name] for name in PROJECTED}
        rows.append({**customer, **taken, "projection_as_of_date": projection["as_of_date"]})
    return rows


def arrived(start: dt.date) -> str:
    """A `with` clause of the rows that must have arrived: a cursor in a partition, and no rule broken."""
    return "with " + ", ".join(
        f"{name} as (select {COLUMNS[name]} from {name} where isfinite({cursor}) and {cursor} >= '{start} 00:00+00' "
        f"and {VALID[name]})"
        for name, cursor in CURSORS.items()
    )


def state_query(table: str, start: dt.date) -> str:
    """The state of a source table, a row per key."""
    return f"{arrived(start)} select * from {table}"


def _versions(log: Rows) -> dict[int, list[Mapping[str, Any]]]:
    """What the log saw of each key that was there and kept the rules, in the order in which it was seen."""
    seen: dict[int, list[Mapping[str, Any]]] = {}
    for row in sorted(
        (row for row in log if not row["_deleted"] and not row["_quarantined"]),
        key=lambda row: (row["_snapshot"] or "", row["updated_at"], row["_loaded_at"], row["_source_row"]),
    ):
        seen.setdefault(row["id"], []).append(row)
    return seen


def refunds_of(orders: Rows) -> str:
    """Query of since when each order has been refunded: of STG_ORDERS, for the shop forgets what an order was."""
    found = []
    for key, versions in _versions(orders).items():
        since = list(takewhile(lambda row: row["status"] == "refunded", reversed(versions)))
        if since:
            at = min(row["updated_at"] for row in since)
            found.append(f"select {key}::bigint as order_id, timestamp '{at}' as refunded_at")
    none = "select null::bigint as order_id, null::timestamp as refunded_at where false"
    return " union all ".join([none, *found])


def returns_of(lines: Rows) -> str:
    """Query of the pieces in which each line came back, in its order's currency: of STG_ORDER_ITEMS, as refunds are.

    A piece has come back since no version had less: so each has at most what any later one has.
    """
    found = []
    for key, versions in _versions(lines).items():
        units, amount = 0, Decimal(0)
        for index in range(len(versions)):
            later = versions[index:]
            back = min(row["returned_quantity"] or 0 for row in later)
            upto = min(row["returned_amount"] or Decimal(0) for row in later)
            if (back, upto) != (units, amount):
                at = min(row["updated_at"] for row in later)
                found.append(f"select {key}, {back - units}, {upto}, {amount}, timestamp '{at}'")
            units, amount = back, upto
    none = (
        "select null::bigint as line_id, null::bigint as units, null::numeric as upto, null::numeric as before, "
        "null::timestamp as refunded_at where false"
    )
    return " union all ".join([none, *found])


def model_query(model: Model, start: dt.date, refunds: str, returns: str) -> str:
    """What dbt must have built, given the queries of since when orders and lines came back."""
    facts = _FACTS.format(start=start, refunds=refunds, returns=returns)
    return f"{arrived(start)}, {facts} select * from {model.name}"


def differences(
    expected: Rows, found: Rows, key: Sequence[str], rounded: Mapping[str, float] | None = None
) -> list[str]:
    """What the second table has wrong, row by row; only the columns of the expected rows are compared."""
    wanted, told = {tuple(row[name] for name in key): row for row in expected}, []
    seen: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in found:
        at = tuple(row[name] for name in key)
        if at in seen:
            told.append(f"{_named(key, at)} occurs twice")
        seen[at] = row
    for at in sorted(wanted.keys() | seen.keys(), key=repr):
        if at not in seen:
            told.append(f"{_named(key, at)} is missing: {_shown(wanted[at])}")
        elif at not in wanted:
            told.append(f"{_named(key, at)} should not be there: {_shown(seen[at])}")
        else:
            wrong = [
                f"{name} is {_text(seen[at].get(name))} instead of {_text(value)}"
                for name, value in wanted[at].items()
                if not _equal(value, seen[at].get(name), (rounded or {}).get(name, 0))
            ]
            if wrong:
                told.append(f"{_named(key, at)}: {', '.join(wrong)}")
    return told


def _equal(expected: Any, found: Any, tolerance: float) -> bool:
    if expected is None or found is None or not tolerance:
        return bool(expected == found)
    return abs(float(expected) - float(found)) <= tolerance * 1.0001


def _named(key: Sequence[str], at: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in zip(key, at, strict=True))


def _shown(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in list(row.items())[:6])


def _text(value: Any) -> str:
    return value.isoformat(" ") if isinstance(value, dt.datetime) else str(value)
