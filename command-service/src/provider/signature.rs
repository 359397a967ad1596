//! Signed webhooks. Source: Standard Webhooks 1.0.0: the headers `webhook-id`, `webhook-timestamp` (Unix seconds) and
//! `webhook-signature` (`v1,<base64>`, several apart by spaces); HMAC-SHA256 over `{id}.{timestamp}.{body}`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::config::WebhookSecrets;
use super::port::WebhookError;

/// How far a webhook's time may be from ours, in seconds. Source: Standard Webhooks, and Stripe's default.
const TOLERANCE_S: i64 = 300;

/// Signatures looked at in one header: an old and a new secret, and some to spare.
const SIGNATURES_MAX: usize = 8;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The headers of a webhook, with a signature by each key.
pub fn sign(secrets: &WebhookSecrets, id: &str, body: &[u8], now: Timestamp) -> HeaderMap {
    let seconds = now.timestamp().to_string();
    let signed =
        |key: Vec<u8>| format!("v1,{}", STANDARD.encode(mac(&key, id, &seconds, body).finalize().into_bytes()));
    let signature = secrets.keys().map(signed).collect::<Vec<_>>().join(" ");
    [(ID, id), (TIMESTAMP, seconds.as_str()), (SIGNATURE, signature.as_str())]
        .into_iter()
        .filter_map(|(name, value)| HeaderValue::from_str(value).ok().map(|value| (name, value)))
        .collect()
}

/// Verifies a webhook: a signature by one of the keys is enough. The comparison takes the same time whatever the signature.
///
/// # Errors
/// [`WebhookError::Signature`].
pub fn verify(secrets: &WebhookSecrets, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), WebhookError> {
    let header = |name: HeaderName, missing| {
        headers.get(name).and_then(|value| value.to_str().ok()).ok_or(WebhookError::Signature(missing))
    };
    let id = header(ID, "`webhook-id` is missing")?;
    let seconds = header(TIMESTAMP, "`webhook-timestamp` is missing")?;
    let signatures = header(SIGNATURE, "`webhook-signature` is missing")?;
    let sent: i64 = seconds.parse().map_err(|_| WebhookError::Signature("`webhook-timestamp` is not Unix seconds"))?;
    if now.timestamp().abs_diff(sent) > TOLERANCE_S.unsigned_abs() {
        return Err(WebhookError::Signature("`webhook-timestamp` is more than 300 s away from now"));
    }
    let expected: Vec<_> = secrets.keys().map(|key| mac(&key, id, seconds, body)).collect();
    let fits = signatures.split(' ').take(SIGNATURES_MAX).any(|signature| {
        let bytes = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        bytes.is_some_and(|bytes| expected.iter().any(|mac| mac.clone().verify_slice(&bytes).is_ok()))
    });
    if fits { Ok(()) } else { Err(WebhookError::Signature("no `v1` signature in `webhook-signature` fits the body")) }
}

fn mac(key: &[u8], id: &str, seconds: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).expect("a valid time")
    }

    fn secrets(text: &str) -> WebhookSecrets {
        WebhookSecrets::new(text).expect("keys of at least 24 bytes")
    }

    #[test]
    fn while_a_key_is_replaced_signatures_of_both_are_accepted_and_webhooks_bear_both() {
        let (old, new) = ("the old secret of these tests", "the new secret of these tests");
        let both = secrets(&format!("{new},{old}"));
        for one in [old, new] {
            assert_eq!(verify(&both, &sign(&secrets(one), "evt_1", b"body", now()), b"body", now()), Ok(()));
            assert_eq!(verify(&secrets(one), &sign(&both, "evt_1", b"body", now()), b"body", now()), Ok(()));
        }
        let third = sign(&secrets("a third secret of these tests"), "evt_1", b"body", now());
        assert!(verify(&both, &third, b"body", now()).is_err());
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks reference libraries.
        let secret = WebhookSecrets::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key of 24 bytes");
        let at = Timestamp::from_timestamp(1_614_265_330, 0).expect("a valid time");
        let headers = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#, at);
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_the_same_bytes_under_the_same_secret_within_five_minutes_are_believed() {
        let secret = secrets("the secret of these tests");
        let headers = sign(&secret, "evt_1", b"body", now());
        assert_eq!(verify(&secret, &headers, b"body", now()), Ok(()));
        assert_eq!(verify(&secret, &headers, b"body", now() + Duration::from_secs(300)), Ok(()));
        assert_eq!(verify(&secret, &headers, b"body", now() - Duration::from_secs(300)), Ok(()));
        for (secret, body, at) in [
            (secrets("another secret of these tests"), b"body".as_slice(), now()),
            (secret.clone(), b"body ", now()),
            (secret.clone(), b"body", now() + Duration::from_secs(301)),
            (secret.clone(), b"body", now() - Duration::from_secs(301)),
        ] {
            assert!(matches!(verify(&secret, &headers, body, at), Err(WebhookError::Signature(_))));
        }
    }

    #[test]
    fn each_header_is_needed_and_one_fitting_signature_of_several_is_enough() {
        let secret = secrets("the secret of these tests");
        let headers = sign(&secret, "evt_1", b"body", now());
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut less = headers.clone();
            less.remove(name);
            assert!(verify(&secret, &less, b"body", now()).is_err(), "{name}");
        }
        let mut more = headers.clone();
        let good = headers["webhook-signature"].to_str().expect("ASCII");
        let several = format!("v1a,xyz v1,AAAA {good}");
        more.insert("webhook-signature", HeaderValue::from_str(&several).expect("ASCII"));
        assert_eq!(verify(&secret, &more, b"body", now()), Ok(()));
    }
}
