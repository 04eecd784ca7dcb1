{#-
    on-run-start: the tables of the fitted models of customer value, where they are missing, so that the marts that read
    them can be built before there is a fit. shopstream_assets/domains/shopstream/customer_value fills them.
-#}
{% macro create_customer_value() %}
    create table if not exists {{ customer_value_table('CUSTOMER_VALUE') }} (
        customer_id number(38, 0),
        p_alive float,
        projected_12m_orders float,
        projected_12m_orders_low float,
        projected_12m_orders_high float,
        projected_12m_revenue float,
        projected_12m_margin float,
        projected_12m_margin_low float,
        projected_12m_margin_high float,
        as_of_date date
    );
    create table if not exists {{ customer_value_table('CUSTOMER_VALUE_FITS') }} (
        as_of_date date,
        model_version varchar,
        customers number(38, 0),
        buyers number(38, 0),
        log_likelihood float,
        projected_12m_orders float,
        projected_12m_orders_low float,
        projected_12m_orders_high float,
        parameters varchar
    );
    create table if not exists {{ customer_value_table('CUSTOMER_VALUE_BACKTEST') }} (
        as_of_date date,
        rfm_segment varchar,
        history_days float,
        horizon_days float,
        customers number(38, 0),
        predicted_orders float,
        standard_error float,
        actual_orders number(38, 0),
        last_period_orders number(38, 0),
        flat_rate_orders float
    );
{% endmacro %}

{% macro customer_value_table(name) -%}
    {{ api.Relation.create(database=target.database, schema='CORE', identifier=name) }}
{%- endmacro %}
