//! One try to connect: which node, and is it an event store.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::connection::Links;
use crate::fault::{add_causes, reason_of};
use crate::proto::gossip::MemberInfo;
use crate::proto::gossip::gossip_client::GossipClient;
use crate::proto::gossip::member_info::VNodeState;
use crate::proto::server_features::server_features_client::ServerFeaturesClient;
use crate::{Node, NodePreference, Settings, tls};

/// How much of one call may be on its way to us unread: in a cluster's network, where an answer takes a millisecond, some
/// hundred megabytes a second.
const STREAM_WINDOW: u32 = 128 << 10;
/// How much of all calls together may be unread. It is a thousand times that of one call, because the answers of a
/// subscription whose owner stands still (a client of server-sent events that reads nothing, say) stay unread, and must not
/// keep the answers of all other calls away. A process has fewer subscriptions than that.
const CONNECTION_WINDOW: u32 = 128 << 20;

/// A node that answers as an event store does.
pub(crate) struct Found {
    pub node: Node,
    pub channel: Channel,
    pub version: String,
    pub batches: bool,
}

/// Connects to the node that the settings prefer; asks `hint` first, then the known nodes, `last` at the end, since that
/// is probably the one that has just failed. Says what failed last if none will do.
pub(crate) async fn find(links: &Links, hint: Option<Node>, last: Option<&Node>) -> Result<Found, String> {
    let settings = &links.settings;
    let mut candidates: Vec<Node> = hint.into_iter().collect();
    candidates.extend(settings.nodes.iter().filter(|node| Some(*node) != last).cloned());
    candidates.extend(last.cloned());
    let mut seen: Vec<Node> = Vec::new();
    let mut reason = String::new();
    while !candidates.is_empty() {
        let candidate = candidates.remove(0);
        if seen.contains(&candidate) {
            continue;
        }
        seen.push(candidate.clone());
        let tried = if settings.discovers() {
            ask(links, &candidate, &mut candidates).await
        } else {
            connect(settings, &candidate).await.map(|channel| (candidate.clone(), channel))
        };
        let answered = match tried {
            Ok((node, channel)) => greet(links, node, channel).await,
            Err(failed) => Err(failed),
        };
        match answered {
            Ok(found) => return Ok(found),
            Err(failed) => reason = failed,
        }
    }
    Err(reason)
}

/// Asks a node who is in the cluster and connects to the best of them. Members that are not known yet are candidates,
/// too: the nodes of the settings may all be gone.
async fn ask(links: &Links, candidate: &Node, candidates: &mut Vec<Node>) -> Result<(Node, Channel), String> {
    let settings = &links.settings;
    let channel = connect(settings, candidate).await?;
    let request = links.request((), Some(settings.gossip_timeout));
    let members = within(settings.gossip_timeout, candidate, async {
        GossipClient::new(channel.clone()).read(request).await.map_err(|status| reason_of(&status))
    })
    .await?
    .into_inner()
    .members;
    let best = best(&members, settings.preference);
    candidates.extend(members.iter().filter(|member| member.is_alive).filter_map(node_of));
    let best = best.ok_or_else(|| format!("{candidate} knows of no node that leads at the moment"))?;
    if best == *candidate {
        return Ok((best, channel));
    }
    let channel = connect(settings, &best).await?;
    Ok((best, channel))
}

/// Asks what the node can do: whatever answers this speaks the protocol.
async fn greet(links: &Links, node: Node, channel: Channel) -> Result<Found, String> {
    let limit = links.settings.gossip_timeout;
    let request = links.request((), Some(limit));
    let supported = within(limit, &node, async {
        let answer = ServerFeaturesClient::new(channel.clone()).get_supported_methods(request).await;
        answer.map_err(|status| reason_of(&status))
    })
    .await?
    .into_inner();
    let batches = supported.methods.iter().any(|method| {
        method.method_name.eq_ignore_ascii_case("batchappend")
            && method.service_name.eq_ignore_ascii_case("event_store.client.streams.streams")
    });
    Ok(Found { node, channel, version: supported.event_store_server_version, batches })
}

async fn connect(settings: &Settings, node: &Node) -> Result<Channel, String> {
    let scheme = if settings.tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{node}"))
        .map_err(|error| format!("{node}: {error}"))?
        // Without it a lone append waits 40 ms for the other side's delayed acknowledgement.
        .tcp_nodelay(true)
        .connect_timeout(settings.gossip_timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if let Some(interval) = settings.keep_alive_interval {
        endpoint = endpoint
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(settings.keep_alive_timeout)
            .keep_alive_while_idle(true);
    }
    if settings.tls {
        endpoint = tls::configure(endpoint, settings).map_err(|reason| format!("{node}: {reason}"))?;
    }
    within(settings.gossip_timeout, node, async {
        endpoint.connect().await.map_err(|error| {
            let mut reason = String::from("cannot connect");
            add_causes(&mut reason, std::error::Error::source(&error));
            reason
        })
    })
    .await
}

/// One step of connecting, with its bound and the node in its error.
async fn within<T>(limit: Duration, node: &Node, step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(|reason| format!("{node}: {reason}")),
        Err(_) => Err(format!("{node} did not answer within {limit:?}")),
    }
}

/// The member to use. A leader is the one that leads and no other; for the rest any that is of use will do.
fn best(members: &[MemberInfo], preference: NodePreference) -> Option<Node> {
    let rank = |member: &MemberInfo| match (preference, member.state()) {
        (NodePreference::Leader, VNodeState::Leader)
        | (NodePreference::Follower, VNodeState::Follower)
        | (NodePreference::ReadOnlyReplica, VNodeState::ReadOnlyReplica | VNodeState::ReadOnlyLeaderless) => Some(0),
        (NodePreference::Leader, _) => None,
        (_, VNodeState::Leader | VNodeState::Follower | VNodeState::ReadOnlyReplica) => Some(1),
        (_, _) => None,
    };
    let mut alive: Vec<(u8, &MemberInfo)> =
        members.iter().filter(|member| member.is_alive).filter_map(|member| Some((rank(member)?, member))).collect();
    if preference == NodePreference::Random && !alive.is_empty() {
        use std::hash::{BuildHasher as _, RandomState};
        let lot = RandomState::new().hash_one(alive.len()) % alive.len() as u64;
        alive.rotate_left(usize::try_from(lot).unwrap_or_default());
    }
    alive.iter().min_by_key(|(rank, _)| *rank).and_then(|(_, member)| node_of(member))
}

fn node_of(member: &MemberInfo) -> Option<Node> {
    let end_point = member.http_end_point.as_ref()?;
    let port = u16::try_from(end_point.port).ok()?;
    Some(Node { host: end_point.address.clone(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gossip::EndPoint;

    fn member(host: &str, state: VNodeState, is_alive: bool) -> MemberInfo {
        let end_point = EndPoint { address: host.to_owned(), port: 2113 };
        MemberInfo { state: state.into(), is_alive, http_end_point: Some(end_point), ..MemberInfo::default() }
    }

    #[test]
    fn the_node_that_is_preferred_is_chosen_and_only_a_leader_leads() {
        let members = [
            member("dead", VNodeState::Leader, false),
            member("catching-up", VNodeState::CatchingUp, true),
            member("replica", VNodeState::ReadOnlyReplica, true),
            member("leader", VNodeState::Leader, true),
            member("follower", VNodeState::Follower, true),
        ];
        let host = |preference| best(&members, preference).map(|node| node.host);
        assert_eq!(host(NodePreference::Leader).as_deref(), Some("leader"));
        assert_eq!(host(NodePreference::Follower).as_deref(), Some("follower"));
        assert_eq!(host(NodePreference::ReadOnlyReplica).as_deref(), Some("replica"));
        assert!(host(NodePreference::Random).is_some_and(|host| !["dead", "catching-up"].contains(&host.as_str())));
        assert_eq!(best(&members[..3], NodePreference::Leader), None);
        assert_eq!(best(&members[..3], NodePreference::Follower).map(|node| node.host).as_deref(), Some("replica"));
    }
}
