//! Which headers go on to a replica, and back to the client.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use service_kit::limits::DRAINING;

/// Headers that belong to one connection only. Source: RFC 9110 §7.6.1; the last two are what proxies made of it.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The headers of a request as a replica gets them. What a client says about those before it (`Forwarded`,
/// `X-Forwarded-*`) is taken off, as anybody can write that; the gateway says who asked it, and by which name.
pub(super) fn towards_replica(headers: &mut HeaderMap, client: Option<IpAddr>) {
    take_off_hop_by_hop(headers);
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    claimed.iter().for_each(|name| _ = headers.remove(name));
    headers.remove(header::FORWARDED);
    headers.remove(header::EXPECT); // The body is here already.
    headers.remove(header::CONTENT_LENGTH); // Set anew from the body that was read.
    if let Some(host) = headers.remove(header::HOST) {
        headers.insert(FORWARDED_HOST, host);
    }
    if let Some(client) = client.and_then(|address| HeaderValue::try_from(address.to_string()).ok()) {
        headers.insert(FORWARDED_FOR, client);
    }
}

/// The headers of an answer as the client gets them.
pub(super) fn towards_client(headers: &mut HeaderMap, status: StatusCode) {
    take_off_hop_by_hop(headers);
    headers.remove(DRAINING);
    if status == StatusCode::MISDIRECTED_REQUEST {
        // No replica has what it takes at the moment: for the client that is a matter of waiting.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    }
}

/// Takes off what belongs to one connection: the usual headers, and those that `Connection` names.
fn take_off_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| _ = headers.remove(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(pair).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_are_not_forwarded() {
        let mut all = headers(&[
            ("connection", "keep-alive, X-Secret"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-secret", "for the first hop"),
            ("idempotency-key", "k"),
        ]);
        towards_replica(&mut all, None);
        assert_eq!(names(&all), ["idempotency-key"]);
    }

    #[test]
    fn who_asked_is_said_by_the_gateway_alone() {
        let mut all = headers(&[
            ("host", "shop.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=6.6.6.6"),
        ]);
        towards_replica(&mut all, Some([10, 0, 0, 7].into()));
        assert_eq!(names(&all), ["x-forwarded-for", "x-forwarded-host"]);
        assert_eq!(
            (&all[FORWARDED_FOR], &all[FORWARDED_HOST]),
            (&"10.0.0.7".parse().unwrap(), &"shop.example".parse().unwrap())
        );
    }

    #[test]
    fn a_client_does_not_see_that_a_replica_drains() {
        let mut all = headers(&[("x-backstitch-draining", "true"), ("connection", "close"), ("retry-after", "1")]);
        towards_client(&mut all, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(names(&all), ["retry-after"]);
    }
}
