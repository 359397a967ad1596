//! Which service a request is for: what changes something goes to who decides it, what asks goes to the read side.

use axum::http::Method;

/// A kind of service behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `command-service`
    Commands,
    /// `projection-service`
    Queries,
    /// `saga-orchestrator`
    Sagas,
}

impl Service {
    /// Its key in `[gateway]`, and its name in `/health`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Queries => "queries",
            Self::Sagas => "sagas",
        }
    }
}

/// Where a request goes; `None`: there is no such path anywhere.
pub(super) fn service(method: &Method, path: &str) -> Option<Service> {
    let mut parts = path.strip_prefix("/v1/")?.split('/');
    let (noun, rest): (&str, Vec<&str>) = (parts.next()?, parts.collect());
    let reads = matches!(*method, Method::GET | Method::HEAD);
    Some(match noun {
        // Lists of sagas are rows; one saga is read from its stream by who runs it.
        "sagas" if reads && (rest.is_empty() || rest == ["incidents"]) => Service::Queries,
        "sagas" | "saga-types" => Service::Sagas,
        // The provider's own account is asked where its driver is.
        "provider" | "provider-inbox" => Service::Commands,
        "dead-letters" | "projections" => Service::Queries,
        _ if reads => Service::Queries,
        _ => Service::Commands,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first tag of each operation, by method and path.
    fn operations() -> Vec<(Method, String, String)> {
        let contract: serde_json::Value = serde_json::from_str(crate::OPENAPI).unwrap();
        let paths = contract["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(|(method, operation)| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                (method, path.clone(), operation["operationId"].as_str().unwrap().to_owned())
            })
        });
        all.collect()
    }

    #[test]
    fn every_operation_of_the_contract_goes_to_the_service_that_has_it() {
        let mut of_sagas = BTreeSet::new();
        let mut of_commands = BTreeSet::new();
        for (method, path, id) in operations() {
            match service(&method, &path) {
                Some(Service::Sagas) => _ = of_sagas.insert(id),
                Some(Service::Commands) => _ = of_commands.insert(id),
                Some(Service::Queries) => {
                    let told = method == Method::GET
                        || path.starts_with("/v1/dead-letters")
                        || path.starts_with("/v1/projections");
                    assert!(told, "{method} {path} changes something and does not go to the read side");
                }
                None => assert!(path.starts_with("/health"), "{path} is the gateway's own, or goes nowhere"),
            }
        }
        let sagas =
            ["actOnSaga", "getSaga", "getSagaGraph", "getSagaTimeline", "getSagaTypeGraph", "planSaga", "whySaga"];
        assert_eq!(of_sagas, sagas.map(str::to_owned).into());
        for id in ["placeOrder", "receiveWebhook", "getProviderLedger", "getProvider", "actAsCustomer", "receiveStock"]
        {
            assert!(of_commands.contains(id), "{id}");
        }
    }
}
