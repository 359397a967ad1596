-- Views over tables of several source streams. With several payments the one with the highest attempt group decides
-- the status; amounts captured and refunded are summed over all of them.
create view order_list as
select o.id, o.number, o.customer_id, o.status, o.held_reason, o.held_reasons, o.currency, o.total, o.item_count, o.tags,
    o.placed_at,
    coalesce(p.payment_status, 'none') as payment_status, coalesce(s.status, 'none') as fulfilment_status,
    case when o.status = 'cancel_pending' then 'customer_request' else o.reason end as reason, o.customer_reason,
    o.stream_version, o.updated_at
from orders o
left join lateral (
    select case when p.outcome_unknown then 'unknown' else p.state end as payment_status
    from payments p where p.order_id = o.id order by p.attempt_group desc nulls last, p.id limit 1) p on true
left join lateral (
    select s.status from shipments s where s.order_id = o.id order by s.planned_at desc nulls last, s.id limit 1) s on true
where o.placed_at is not null;

create view customer_orders as
select customer_id, id as order_id, number, placed_at, status, payment_status, fulfilment_status, total, currency
from order_list;

-- Whether nothing moves until somebody outside acts: every saga of the order is settled, what was handed over has been
-- taken up, and no saga still waits for what has already happened. Positions cannot tell that: a saga may write about one
-- fact after a second one has come that it has not looked at yet.
create view order_settled as
select o.id as order_id,
    bool_and(g.settled
        and (g.state <> 'handed_over' or exists (
            select from saga_view h where h.order_id = o.id and h.saga_id <> g.saga_id and h.type = g.handed_over_to))
        and not (g.state = 'waiting' and (
            o.status = 'cancel_pending'
            or (g.awaits ? 'OrderHoldReleased' and o.held_reason is null)
            or exists (select from shipments s where s.order_id = o.id and (
                (g.awaits ? 'ShipmentReady' and s.status in ('ready', 'cancelled'))
                or (g.awaits ? 'ShipmentDelivered' and s.status in ('delivered', 'lost'))))))) as settled,
    bool_or(g.state = 'needs_attention') as needs_attention
from orders o join saga_view g on g.order_id = o.id
group by o.id;

create view order_details as
select o.id, o.number, o.customer_id, o.status, coalesce(p.payment_status, 'none') as payment_status,
    coalesce(s.status, 'none') as fulfilment_status, o.held_reason, o.held_reasons, o.currency, o.subtotal, o.discount, o.tax,
    o.shipping, o.total, coalesce(p.authorized, 0) as authorized, coalesce(m.captured, 0) as captured,
    coalesce(m.refunded, 0) as refunded, l.lines, o.item_count, o.tags, o.placed_at, o.confirmed_at, o.shipped_at,
    o.completed_at, o.cancelled_at,
    case when o.status = 'cancel_pending' then 'customer_request' else o.reason end as reason, o.customer_reason, p.payment_id, p.failure_code, p.action_url, s.id as shipment_id,
    g.saga_id, g.saga_state, coalesce(t.settled, false) as settled,
    coalesce(t.needs_attention, false) as needs_attention, o.stream_version, o.updated_at
from orders o
left join lateral (
    select p.id as payment_id, case when p.outcome_unknown then 'unknown' else p.state end as payment_status,
        p.authorized, p.failure_code, case when p.state = 'action_required' then p.action_url end as action_url
    from payments p where p.order_id = o.id order by p.attempt_group desc nulls last, p.id limit 1) p on true
left join lateral (
    select sum(p.captured)::bigint as captured, sum(p.refunded)::bigint as refunded
    from payments p where p.order_id = o.id) m on true
left join lateral (
    select s.id, s.status from shipments s where s.order_id = o.id
    order by s.planned_at desc nulls last, s.id limit 1) s on true
left join lateral (
    select coalesce(jsonb_agg(jsonb_build_object('line', l.line, 'sku', l.sku, 'location', l.location, 'name', l.name,
        'quantity', l.quantity, 'unit_price', l.unit_price, 'net', l.net, 'discount_share', l.discount_share,
        'tax_share', l.tax_share) order by l.line), '[]') as lines
    from order_lines l where l.order_id = o.id) l on true
left join lateral (
    select g.saga_id, g.state as saga_state from saga_view g where g.order_id = o.id
    order by (g.type = 'order_fulfilment') desc, g.started_at limit 1) g on true
left join lateral (select t.settled, t.needs_attention from order_settled t where t.order_id = o.id) t on true
where o.placed_at is not null;
