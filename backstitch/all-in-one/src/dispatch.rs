//! How sagas reach the command service in one process: a function call. In a cluster a network client stands here.

use async_trait::async_trait;
use command_service::CommandBus;
use saga_orchestrator::{CommandPort, Dispatch, Outcome};
use saga_runner::in_process;

/// Sends what sagas issue to the bus of this process.
#[derive(Clone)]
pub(crate) struct InProcess {
    bus: CommandBus,
}

impl InProcess {
    /// To this bus.
    pub(crate) fn new(bus: CommandBus) -> Self {
        Self { bus }
    }
}

#[async_trait]
impl CommandPort for InProcess {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        match in_process::command(dispatch) {
            Ok((command, meta)) => in_process::outcome(self.bus.send(command, meta).await),
            Err(unknown) => unknown,
        }
    }
}
