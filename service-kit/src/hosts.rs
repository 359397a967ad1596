//! The names of a server in the header `Host`, and the headers that restrict what browsers do with its answers.
//!
//! Without a check of `Host`, a web page could reach a server on this machine by DNS rebinding: its own name resolves to
//! 127.0.0.1 from one moment to the next, and the browser takes the server for the page's own. An address in `Host` cannot
//! be rebound, and neither can `localhost`: both are always accepted, so that probes and other services need no setting.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::problem::Problem;

/// The policy for browsers: an answer may only be shown. Pages with scripts of their own (`/docs`) have another policy.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The policy for the pages of the API's viewer, which has its own scripts, styles and images.
const POLICY_OF_DOCS: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                              frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The names that a server answers to.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// The names; `None` accepts any name.
    names: Option<Arc<[String]>>,
}

impl Hosts {
    /// Hosts that accept any name.
    pub fn any() -> Self {
        Self::default()
    }

    /// The names of a server that listens on `listen`: those in `allowed`. Without any, only loopback names on a loopback
    /// address, and every name elsewhere, where the server cannot know how it is called.
    pub fn of(listen: SocketAddr, allowed: &[String]) -> Self {
        if allowed.is_empty() && !listen.ip().is_loopback() {
            return Self::any();
        }
        Self { names: Some(allowed.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect()) }
    }

    /// Looks whether a request is for this server and, if a web page sent it, for a page of this server.
    ///
    /// # Errors
    /// 403: it is for another name, or another site's page sent it; 400: it names two hosts.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let Some(names) = &self.names else { return Ok(()) };
        let headers = request.headers();
        if headers.get_all(header::HOST).iter().nth(1).is_some() {
            return Err(Problem::invalid("the request names two hosts").field("header:Host", "must be there once"));
        }
        let named = headers.get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
        let host = named.or_else(|| request.uri().authority().map(Authority::as_str));
        if let Some(host) = host
            && !allows(names, name_of(host))
        {
            return Err(refused("header:Host", host));
        }
        match origin(headers) {
            Some(origin) if !same_site(names, origin, host, request.method()) => Err(refused("header:Origin", origin)),
            _ => Ok(()),
        }
    }
}

fn refused(field: &str, name: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "host-not-allowed", "The server does not answer to that name")
        .detail("nothing was done; names other than an address or localhost are listed in the setting `allowed_hosts`")
        .field(field, format_args!("`{}` is not among the allowed hosts", name.escape_default()))
}

fn allows(names: &[String], name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    address || is_localhost(&name) || names.contains(&name)
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// A name or address without its port: `[::1]:7400` is `[::1]`.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a page of this site sent the request: the same host, this machine, or a name that is allowed. A page without an
/// origin of its own (`null`: a file, a sandboxed frame) may only read.
fn same_site(names: &[String], origin: &str, host: Option<&str>, method: &Method) -> bool {
    if origin == "null" {
        return matches!(*method, Method::GET | Method::HEAD);
    }
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let name = name_of(authority).to_ascii_lowercase();
    let loopback =
        name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        || loopback
        || is_localhost(&name)
        || names.contains(&name)
}

/// Tells browsers to guess no content types, to run nothing and to show the answer in nobody else's frame, where the
/// answer does not say otherwise itself. `docs`: it is a page of the viewer.
pub fn protect(headers: &mut HeaderMap, docs: bool) {
    let policy = if docs { POLICY_OF_DOCS } else { POLICY };
    let defaults: [(HeaderName, &'static str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(hosts: &Hosts, method: &str, headers: &[(&str, &str)]) -> u16 {
        let request =
            headers.iter().fold(Request::builder().method(method).uri("/v1/orders"), |request, (name, value)| {
                request.header(*name, *value)
            });
        hosts.check(&request.body(Body::empty()).unwrap()).map_or_else(|problem| problem.status, |()| 200)
    }

    fn on(listen: &str, allowed: &[&str]) -> Hosts {
        Hosts::of(listen.parse().unwrap(), &allowed.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn on_loopback_only_loopback_names_and_addresses_are_answered() {
        let hosts = on("127.0.0.1:7400", &[]);
        for host in ["localhost", "localhost:7400", "LocalHost.:7400", "127.0.0.1:7400", "[::1]:7400", "shop.localhost"]
        {
            assert_eq!(status(&hosts, "GET", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "evil.example:7400", "127.0.0.1.evil.example", "localhost.evil.example", "::evil"]
        {
            assert_eq!(status(&hosts, "GET", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&hosts, "GET", &[("host", "localhost"), ("host", "evil.example")]), 400);
        assert_eq!(status(&hosts, "GET", &[]), 200, "no browser sends a request without a host");
    }

    #[test]
    fn elsewhere_every_name_is_answered_until_names_are_given() {
        assert_eq!(status(&on("0.0.0.0:7400", &[]), "GET", &[("host", "command-service:7400")]), 200);
        let hosts = on("0.0.0.0:7400", &["Shop.example"]);
        assert_eq!(status(&hosts, "GET", &[("host", "shop.example:443")]), 200);
        assert_eq!(status(&hosts, "GET", &[("host", "10.1.2.3:7400")]), 200, "probes name the pod's address");
        assert_eq!(status(&hosts, "GET", &[("host", "evil.example")]), 403);
    }

    #[test]
    fn a_page_of_another_site_may_send_nothing() {
        let hosts = on("127.0.0.1:7400", &[]);
        let host = ("host", "127.0.0.1:7400");
        for origin in ["http://127.0.0.1:7400", "http://localhost:3000", "http://[::1]:8080"] {
            assert_eq!(status(&hosts, "POST", &[host, ("origin", origin)]), 200, "{origin}");
        }
        for origin in ["https://evil.example", "http://192.168.1.5", "null", "evil"] {
            assert_eq!(status(&hosts, "POST", &[host, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(status(&hosts, "GET", &[host, ("origin", "null")]), 200);
    }

    #[test]
    fn what_an_answer_says_itself_about_browsers_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        protect(&mut headers, false);
        assert_eq!(headers[header::REFERRER_POLICY], "same-origin");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("frame-ancestors 'none'"));
    }
}
