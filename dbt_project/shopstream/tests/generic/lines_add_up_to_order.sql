{#- Lines add up to their order, to the cent: amounts before discount, the discount, what came back, and net revenue. -#}
{% test lines_add_up_to_order(model, orders) %}
    with lines as (
        select
            order_id,
            count(*) as line_count,
            sum(line_amount)::number(18, 2) as items_amount,
            sum(discount_share)::number(18, 2) as order_discount,
            sum(units_refunded) as units_refunded,
            sum(refunded_amount)::number(18, 2) as refunded_amount,
            sum(net_revenue)::number(18, 2) as net_revenue
        from {{ model }}
        group by order_id
    )

    select orders.order_id
    from {{ orders }} as orders
    left join lines on orders.order_id = lines.order_id
    where
        orders.line_count <> coalesce(lines.line_count, 0)
        or (
            orders.line_count > 0
            and (
                orders.items_amount <> lines.items_amount
                or orders.order_discount <> lines.order_discount
                or orders.units_refunded <> lines.units_refunded
                or orders.refunded_amount <> lines.refunded_amount
                or orders.net_revenue <> lines.net_revenue
            )
        )
{% endtest %}
