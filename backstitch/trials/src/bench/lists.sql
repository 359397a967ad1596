-- A shop of 1 000 000 orders over a year, straight into the tables of the read models: who measures lists need not wait for
-- a projector. Columns are named, so that a new one with a default costs nothing here. Half of all orders have the item
-- `SKU-0`; the others are spread over 1 000 items, of which the last ones are rare. Few orders are held, and a handful is large.
set search_path to read_1;
set synchronous_commit = off;

create temporary table made as
select n, md5('order ' || n)::uuid as id, md5('customer ' || n % 50000)::uuid as customer_id,
    timestamptz '2026-01-01' + n * interval '31 seconds' as placed_at,
    case when n % 1000 = 0 then 'pending' when n % 1000 = 1 then 'cancel_pending' when n % 50 = 2 then 'rejected'
        when n % 40 = 3 then 'cancelled' else 'completed' end as status,
    1000 + (n::bigint * 7919) % 100000 + case when n % 100000 = 7 then 10000000 else 0 end as total
from generate_series(1, 1000000) as n;

insert into orders (id, number, customer_id, status, held_reason, currency, subtotal, discount, tax, shipping, total,
    item_count, tags, payment_method, placed_at, confirmed_at, shipped_at, completed_at, cancelled_at, reason, shipment_id,
    stream_version, global_position, updated_at)
select id, lpad(n::text, 12, '0'), customer_id, status, case when n % 2000 = 0 then 'OTHER' end, 'EUR', total, 0, 0, 0,
    total, 2, '[]', 'tok_approve', placed_at, placed_at, null, null, null, null, null, 4, 0, placed_at
from made;

insert into order_lines (order_id, line, sku, location, name, quantity, unit_price, net, discount_share, tax_share,
    currency, placed_at, stream_version, global_position, updated_at)
select id, line, case when line = 1 and n % 2 = 0 then 'SKU-0' when n % 1000 = 999 then 'SKU-' || n else 'SKU-' || n * line % 1000
    end, 'main', 'A thing', 1, total, total, 0, 0, 'EUR', placed_at, 0, 0, placed_at
from made cross join generate_series(1, 2) as line;

insert into payments (id, order_id, attempt_group, state, outcome_unknown, open_kind, currency, amount, authorized,
    captured, refunded, voided, payment_method, provider_ref, action_url, failure_code, placed_on, began_at, capture_before,
    stream_version, global_position, updated_at)
select md5('payment ' || n)::uuid, id, 0, 'captured', false, null, 'EUR', total, total, total, 0, 0, 'tok_approve', null,
    null, null, placed_at::date, placed_at, null, 4, 0, placed_at
from made;

insert into shipments (id, order_id, status, lines, reason, began_at, planned_at, ready_at, dispatched_at, ended_at,
    stream_version, global_position, updated_at)
select md5('shipment ' || n)::uuid, id, case when n % 1000 < 2 then 'planned' when n % 5000 = 9 then 'lost' else 'delivered'
    end, '[]', null, placed_at, placed_at, null, null, null, 4, 0, placed_at
from made;

insert into saga_view (saga_id, type, definition_version, order_id, state, step, attempts, last_error, error_kind, deadline,
    next_attempt, compensations, waits_for, awaits, started_at, changed_at, ended_at, reason, handed_over_to, settled,
    direction, error_code, stuck, attention_since, stream_version, global_position, updated_at)
select 'order_fulfilment-' || id, case when n % 5000 = 11 then 'order_refund' else 'order_fulfilment' end,
    case when n % 10000 = 12 then 1 else 2 end, id,
    case when n % 1000 < 2 then 'waiting' when n % 10000 = 13 then 'needs_attention' when n % 50 = 2 then 'compensated'
        else 'completed' end,
    case when n % 1000 < 2 then 'plan_shipment' else 'complete' end, 1, null,
    case when n % 50 = 2 then 'rejected' when n % 10000 = 13 then 'failed' end, null, null, '[]', '[]', '[]', placed_at,
    placed_at, null, null, null, true, case when n % 50 = 2 then 'undo' else 'do' end,
    case when n % 50 = 2 then 'payment_declined' when n % 10000 = 13 then 'refund_failed' end, false,
    case when n % 10000 = 13 then placed_at end, 20, 0, placed_at
from made;

insert into reservations (reservation_id, order_id, sku, location, quantity, state, expires_at, ended_at, reason,
    stream_version, global_position, updated_at)
select md5('reservation ' || n)::uuid, id, case when n % 2 = 0 then 'SKU-0' else 'SKU-' || n % 1000 end,
    case when n % 5000 = 14 then 'outlet' else 'main' end, 1, case when n % 1000 < 2 then 'reserved' else 'shipped' end,
    case when n % 1000 < 2 then placed_at end, null, null, 4, 0, placed_at
from made;

insert into stock_levels (sku, location, on_hand, reserved, committed, received, adjusted, shipped, restocked,
    stream_version, global_position, updated_at)
select 'SKU-' || n, 'main', n % 500, 0, 0, 0, 0, 0, 0, 4, 0, now() from generate_series(0, 4999) as n;

insert into sales_by_day (day, currency, orders, units, gross, discounts, tax, shipping, captured, refunded, cancelled,
    rejected, global_position)
select (placed_at at time zone 'UTC')::date, 'EUR', count(*), 2 * count(*), sum(total), 0, 0, 0, sum(total), 0, 0, 0, 0
from made group by 1;

drop table made;
analyze orders, order_lines, payments, shipments, saga_view, reservations, stock_levels, sales_by_day;
