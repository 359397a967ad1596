//! Whether Kafka answers, for `/health`.

use std::sync::Arc;
use std::time::Duration;

use service_kit::health::Reporter;
use tokio_util::sync::CancellationToken;

use crate::config::BusConfig;
use crate::connection::{Asker, blocking};

/// How often Kafka is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Asks Kafka every two seconds and reports whether it answers, until `stop` fires. Run it as a task of the service.
pub async fn watch(config: BusConfig, reporter: Reporter, stop: CancellationToken) {
    let asker = match Asker::new(&config) {
        Ok(asker) => Arc::new(asker),
        Err(error) => return reporter.down(error),
    };
    loop {
        let (topic, asker) = (config.topic.clone(), asker.clone());
        let answer = blocking(move || asker.partitions(&topic));
        let answer = tokio::select! {
            answer = answer => answer,
            () = stop.cancelled() => return,
        };
        match answer {
            Ok(Some(_)) => reporter.up(),
            Ok(None) => reporter.up_with(format_args!("there is no topic `{}` yet", config.topic)),
            Err(error) => reporter.down(error),
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
