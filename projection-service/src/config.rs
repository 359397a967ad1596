//! Where the read models are: the section `[postgres]` of the settings.

use serde::Deserialize;
use service_kit::secret::SecretUrl;

/// The section `[postgres]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// URL of a running Postgres for the read models. Without it `serve` starts a private one, and a projection service
    /// does not start: its replicas share one.
    pub url: Option<SecretUrl>,
}

/// Where a Postgres is, for people: never a password.
pub fn place(url: &SecretUrl) -> String {
    format!("Postgres at {}", url.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://user:geheim@db.example/shop",
            "postgres://db.example/shop?user=user&password=geheim",
            "postgres://db.example/shop?sslpassword=geheim",
        ] {
            let config = PostgresConfig { url: Some(SecretUrl::new(url)) };
            assert!(!format!("{config:?}").contains("geheim"), "{config:?}");
            let place = place(&SecretUrl::new(url));
            assert!(place.starts_with("Postgres at db.example/shop") && !place.contains("geheim"), "{place}");
        }
    }
}
