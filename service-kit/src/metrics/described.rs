//! What each number is, for `# HELP`. `docs/operating.md` says what to do about it; a test compares the three: the code,
//! this list and the document.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Every number of every process: its name, and what it counts or measures.
#[rustfmt::skip] // One number a row.
pub const DESCRIBED: &[(&str, &str)] = &[
    ("backstitch_bus_consumer_behind_total", "Records that wait behind a dead letter of their key."),
    ("backstitch_bus_consumer_dead_letters_total", "Records that a consumer could not handle and put aside."),
    ("backstitch_bus_consumer_handled_total", "Records that a consumer has handled."),
    ("backstitch_bus_consumer_lag_records", "Records of a partition that a consumer has not read yet."),
    ("backstitch_bus_consumer_other_types_total", "Records of event types that a consumer does not handle."),
    ("backstitch_bus_consumer_repeated_total", "Records that a consumer had handled before."),
    ("backstitch_bus_behind_positions", "Positions of the log that have not reached this process over the bus."),
    ("backstitch_bus_large_records_total", "Events that are larger than their topic takes, unless they compress well."),
    ("backstitch_bus_newest_event_age_s", "Seconds since the newest event was recorded that reached this process over the bus."),
    ("backstitch_bus_stalled_s", "Seconds for which nothing has come over the bus although the log is longer, by cause."),
    ("backstitch_bus_published_total", "Records published to Kafka, by kind: event, public copy, watermark."),
    ("backstitch_bus_readers_replaced_total", "Readers of a partition that brought nothing and were replaced."),
    ("backstitch_bus_records_lost_total", "Records that Kafka deleted before a consumer read them."),
    ("backstitch_bus_records_total", "Events read from a partition."),
    ("backstitch_bus_undecodable_total", "Records in our topic that could not be read."),
    ("backstitch_commands_breaker", "Circuit breaker towards a command service: 0 closed, 1 half open, 2 open."),
    ("backstitch_commands_retry_budget_spent_total", "Commands of the sagas that were not repeated because the budget of repeats was spent."),
    ("backstitch_commands_refused_for_room_total", "Commands of clients that were refused because the log is short of room."),
    ("backstitch_commands_sent_seconds", "Time of a command that the sagas sent to a command service."),
    ("backstitch_commands_sent_total", "Commands that the sagas sent to a command service, by result code."),
    ("backstitch_commands_total", "Commands carried out, by command and outcome."),
    ("backstitch_gateway_repeats_total", "Requests that were repeated at another replica, by service, reason and outcome."),
    ("backstitch_gateway_requests_total", "Requests that the front door passed on, by service and outcome."),
    ("backstitch_gateway_rounds_total", "Rounds over all replicas that had to be repeated."),
    ("backstitch_grpc_calls_total", "Calls of the commands service over gRPC, by result code."),
    ("backstitch_http_connections", "Open connections, by port."),
    ("backstitch_http_connections_refused_total", "Connections that were refused, by port and reason."),
    ("backstitch_http_in_flight", "HTTP requests that are being served, by class."),
    ("backstitch_http_places", "HTTP requests that can be served at once, by class."),
    ("backstitch_http_request_seconds", "Time until the answer of an HTTP request begins."),
    ("backstitch_http_requests_total", "HTTP requests, by class, method, route and status."),
    ("backstitch_http_shed_total", "HTTP requests that were refused because too many were being served."),
    ("backstitch_log_checkpoint_age_s", "Seconds for which the write-ahead log has been waiting to begin anew; 0 while it is small."),
    ("backstitch_log_damaged", "1 while the log is known to be damaged."),
    ("backstitch_log_disk_bytes", "Size of the disk on which the log lies."),
    ("backstitch_log_disk_free_bytes", "Bytes that are free on the disk on which the log lies."),
    ("backstitch_log_hanging", "1 while reads or commits of the log have no answer."),
    ("backstitch_log_messages_left_out_total", "Warnings and errors that were not logged because they repeat."),
    ("backstitch_log_position", "Position of the last event of the log that this process knows of."),
    ("backstitch_log_short_of_room", "1 while clients' commands are refused because the log is short of room."),
    ("backstitch_log_unwritable", "1 while the log cannot be written."),
    ("backstitch_log_wal_bytes", "Bytes of the write-ahead log that are in use."),
    ("backstitch_projection_events_total", "Events folded into a read model."),
    ("backstitch_projection_lag_events", "Events of the log that a read model has not applied yet."),
    ("backstitch_projection_parked_streams", "Streams that a read model cannot follow because of one event."),
    ("backstitch_projection_parked_total", "Times that a stream was parked."),
    ("backstitch_projection_position", "Position up to which a read model has applied the log."),
    ("backstitch_provider_failures_total", "Calls of the payment provider that failed for a passing reason."),
    ("backstitch_provider_inbox_open", "Results of the payment provider that fit no payment so far."),
    ("backstitch_provider_inbox_total", "Results of the payment provider that fitted no payment when they came."),
    ("backstitch_provider_results_refused_total", "Results of the payment provider that a payment refused."),
    ("backstitch_provider_retries_deferred_total", "Retries towards the payment provider that waited because too many were due at once."),
    ("backstitch_provider_wakes_dropped_total", "Wake-ups of the provider's driver that found its queue full."),
    ("backstitch_relay_active", "Whether this relay is the active one: 1 or 0."),
    ("backstitch_relay_lag_positions", "Positions of the log that the active relay has not published yet."),
    ("backstitch_relay_position", "Position up to which Kafka has acknowledged the log."),
    ("backstitch_relay_sessions_failed_total", "Sessions of the relay that failed, by cause."),
    ("backstitch_relay_stalled_s", "Seconds for which the active relay has published nothing, by cause; 0 once it goes on."),
    ("backstitch_saga_commands_total", "Commands that sagas sent, by outcome."),
    ("backstitch_saga_events_total", "Events that sagas appended, by type."),
    ("backstitch_sagas_active", "Sagas that have not ended."),
    ("backstitch_sagas_started_total", "Sagas that began, by type."),
    ("backstitch_stream_keys", "Idempotency keys that a stream remembers, once they are more than half of what it can."),
    ("event_handler_error", "Records whose handler failed, by group and topic."),
    ("event_serialization_error", "Records that could not be decoded, by group and topic."),
];

/// Gives each number its `# HELP`. Which kind a number is, its name says; a description for the wrong kind is ignored.
pub(super) fn describe() {
    for (name, help) in DESCRIBED {
        if name.ends_with("_total") || name.starts_with("event_") {
            describe_counter!(*name, *help);
        } else if name.ends_with("_seconds") {
            describe_histogram!(*name, *help);
        } else {
            describe_gauge!(*name, *help);
        }
    }
}
