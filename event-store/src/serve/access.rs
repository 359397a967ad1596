//! Access to the served log: every client may call, or only one with the right name and password (HTTP basic
//! authentication, RFC 7617, in every call).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::metadata::MetadataMap;

use super::refusal::Refusal;

/// The actor of an append when clients need no password.
const ANYBODY: &str = "kurrentdb-client";

/// The clients that may call.
#[derive(Clone)]
pub(super) struct Access {
    /// The expected `user:password`; `None` lets every client call.
    only: Option<Arc<str>>,
    /// The actor that a caller counts as.
    caller: Arc<str>,
}

/// Without the password.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", if self.is_open() { "everybody" } else { &self.caller })
    }
}

impl Access {
    pub fn open() -> Self {
        Self { only: None, caller: ANYBODY.into() }
    }

    pub fn only(user: &str, password: &str) -> Self {
        Self { only: Some(format!("{user}:{password}").into()), caller: user.into() }
    }

    /// Whether everybody may call.
    pub fn is_open(&self) -> bool {
        self.only.is_none()
    }

    /// Identifies the caller. Where every client may call, the given name is not trusted.
    pub fn caller(&self, headers: &MetadataMap) -> Result<Arc<str>, Refusal> {
        let Some(only) = &self.only else { return Ok(self.caller.clone()) };
        let given = headers.get("authorization").and_then(|header| header.to_str().ok()).and_then(basic);
        match given {
            Some(given) if same(&given, only.as_bytes()) => Ok(self.caller.clone()),
            Some(_) => Err(Refusal::Unauthenticated("the user or the password is wrong")),
            None => Err(Refusal::Unauthenticated("a user and a password are needed (kurrentdb://user:password@host)")),
        }
    }
}

/// The `user:password` of a header.
fn basic(header: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()).ok()).flatten()
}

/// Whether both are the same, in a time that depends on `given` only: it tells nothing of `wanted`.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let mut differs = u8::from(given.len() != wanted.len());
    for (byte, wanted) in given.iter().zip(wanted.iter().cycle()) {
        differs |= std::hint::black_box(byte ^ wanted);
    }
    differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> MetadataMap {
        let mut headers = MetadataMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        headers
    }

    fn encoded(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn only_who_has_the_name_and_the_password_may_call() {
        let access = Access::only("shop", "geheim:1");
        assert_eq!(&*access.caller(&headers(&encoded("shop:geheim:1"))).ok().unwrap(), "shop");
        for wrong in
            ["shop:geheim:2", "shop:geheim:", "shop:geheim:1x", "shop:geheim:1shop:geheim:1", "", ":", "other:geheim:1"]
        {
            assert!(access.caller(&headers(&encoded(wrong))).is_err(), "{wrong}");
        }
        for wrong in ["Basic", "Basic !", "Bearer c2hvcDpnZWhlaW06MQ==", "c2hvcDpnZWhlaW06MQ=="] {
            assert!(access.caller(&headers(wrong)).is_err(), "{wrong}");
        }
        assert!(access.caller(&MetadataMap::new()).is_err());
    }

    #[test]
    fn where_everybody_may_call_nobody_is_believed_who_he_says_he_is() {
        let caller = Access::open().caller(&headers(&encoded("admin:x"))).ok().unwrap();
        assert_eq!(&*caller, ANYBODY);
    }

    #[test]
    fn a_password_is_never_shown() {
        assert!(!format!("{:?}", Access::only("shop", "geheim")).contains("geheim"));
    }
}
