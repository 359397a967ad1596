//! Records and back.

use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;
use uuid::Uuid;

use super::*;

fn event(optional: bool) -> RecordedEvent {
    let text = optional.then(|| "5e".repeat(32));
    RecordedEvent {
        id: Uuid::from_u128(1),
        stream: "order-1".parse().unwrap(),
        version: 7,
        position: Position(u64::MAX - 1),
        event_type: "OrderPlaced".into(),
        schema_version: 3,
        data: RawValue::from_string(r#"{"b":1.50,"a": "\u00e4ä","a":2}"#.to_owned()).unwrap(),
        metadata: Arc::new(Metadata {
            partition_key: "schlüssel ,;=".to_owned(),
            correlation_id: Uuid::from_u128(2),
            causation_id: Uuid::from_u128(3),
            command_id: Uuid::from_u128(4),
            command_hash: text.clone(),
            traceparent: text,
            actor: "wer \"auch\" immer\n€".to_owned(),
            occurred_at: "2026-11-21T10:00:00.000001Z".parse().unwrap(),
        }),
        recorded_at: "1969-12-31T23:59:59.999999Z".parse().unwrap(),
    }
}

fn message(headers: OwnedHeaders, value: Option<&str>) -> OwnedMessage {
    let value = value.map(|text| text.as_bytes().to_vec());
    OwnedMessage::new(value, None, "t".to_owned(), Timestamp::NotAvailable, 0, 0, Some(headers))
}

fn without(headers: &OwnedHeaders, name: &str) -> OwnedHeaders {
    headers.iter().filter(|header| header.key != name).fold(OwnedHeaders::new(), |all, header| all.insert(header))
}

#[test]
fn an_event_becomes_a_record_and_the_same_event_again() {
    for (optional, since) in [(true, Some(Position(5))), (false, None)] {
        let event = event(optional);
        let record = decode(&message(headers(&event, "/shop", since), Some(event.data.get()))).unwrap();
        assert_eq!(record.claim, Claim { position: event.position, since });
        assert_eq!(format!("{:?}", record.event.unwrap()), format!("{event:?}"));
    }
}

#[test]
fn a_record_has_what_cloudevents_asks_for() {
    let headers = headers(&event(true), "/shop", None);
    for required in ["ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "ce_time", "ce_subject"] {
        assert!(headers.iter().any(|header| header.key == required), "{required}");
    }
    // Source: CloudEvents 1.0, "Attribute naming convention": lower-case letters and digits.
    let named = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    assert!(headers.iter().filter_map(|header| header.key.strip_prefix("ce_")).all(named));
}

#[test]
fn a_watermark_says_how_far_the_log_has_come_and_nothing_else() {
    let claim = Claim { position: Position(90), since: Some(Position(70)) };
    let record = decode(&message(watermark(claim), None)).unwrap();
    assert!(record.event.is_none());
    assert_eq!(record.claim, claim);
}

#[test]
fn a_foreign_record_is_an_error_that_says_why() {
    let (event, value) = (event(true), Some("{}"));
    let ours = headers(&event, "/shop", Some(Position(1)));
    let none = OwnedMessage::new(Some(b"{}".to_vec()), None, "t".to_owned(), Timestamp::NotAvailable, 0, 0, None);
    assert_eq!(decode(&none).unwrap_err(), DecodeError::NotCloudEvent);
    assert_eq!(decode(&message(without(&ours, "ce_specversion"), value)).unwrap_err(), DecodeError::NotCloudEvent);
    for name in ["ce_id", "ce_sequence", "ce_subject", "ce_actor", "ce_recordedtime", "ce_partitionkey"] {
        let missing = decode(&message(without(&ours, name), value)).unwrap_err();
        assert_eq!(missing, DecodeError::Missing(name));
    }
    let replaced = |key, value: &str| without(&ours, key).insert(Header { key, value: Some(value) });
    let future = decode(&message(replaced("ce_specversion", "2.0"), value)).unwrap_err();
    assert_eq!(future, DecodeError::SpecVersion("2.0".to_owned()));
    for (name, text) in [("ce_id", "x"), ("ce_sequence", "-1"), ("ce_time", "today"), ("ce_subject", "a b")] {
        let error = decode(&message(replaced(name, text), value)).unwrap_err();
        assert!(
            matches!(&error, DecodeError::Header { header, value, .. } if *header == name && value == text),
            "{error}"
        );
    }
    for value in [None, Some(""), Some("{"), Some("{} {}")] {
        let error = decode(&message(ours.clone(), value)).unwrap_err();
        assert!(matches!(error, DecodeError::Data(_)), "{error}");
        let claimed = claim(&message(ours.clone(), value)).unwrap();
        assert_eq!(claimed.since, Some(Position(1)), "what it claims can be read all the same");
    }
}
