//! The log's latest event, and the clock.

use std::sync::Arc;
use std::time::Duration;

use command_service::clock_watch;
use domain::testing::at;
use service_kit::Health;
use service_kit::health::Status;

use crate::world::World;

#[tokio::test]
async fn health_says_that_the_log_s_latest_event_lies_in_the_future() {
    let world = World::new();
    world.clock.set(at(2 * 3600));
    world.receive(3).await;
    world.clock.set(at(0));
    let health = Health::new(world.clock.clone());
    clock_watch::start(Arc::clone(&world.store), world.clock.clone(), &health, &world.tasks);
    let said = async {
        loop {
            let clock = health.report().dependencies["clock"].clone();
            if clock.status == Status::Down {
                return clock.detail.unwrap_or_default();
            }
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(30), said).await.unwrap();
    assert!(said.contains("7200 s ahead"), "{said}");
    assert!(health.report().ready, "nothing stops for it");
}
