//! `backstitch stream tail`: server-sent events, one line each. When the connection breaks, it goes on after the last
//! event that was shown.

use std::time::Duration;

use event_store::RecordedEvent;
use futures_util::StreamExt;
use terminal::output::{self, Tone};
use terminal::{Exit, Failure};

use crate::cli::server::client::{Client, Target};

/// Between two attempts to get back to the server.
const PAUSE: Duration = Duration::from_secs(1);
/// A server that is restarted is back within seconds; after so many attempts it is told as gone.
const ATTEMPTS: u32 = 30;
/// The longest event that is read: the server's largest body is far below.
const LONGEST: usize = 8 * 1024 * 1024;

/// Shows events as they happen.
pub(crate) async fn run(target: &Target, category: Option<&str>, after: Option<u64>) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    // Without a place to begin, the server would tell the whole log: begin where it ends now.
    let mut last = match after {
        Some(position) => position.to_string(),
        None => end_of_log(&client).await?,
    };
    let what = category.map_or_else(|| "events".to_owned(), |category| format!("events of `{category}`"));
    output::note(format_args!("{what} after position {last}, as they happen; Ctrl-C ends it"));
    let (mut failures, mut connected) = (0, false);
    loop {
        let mut query = vec![("after", last.clone())];
        query.extend(category.map(|category| ("category", category.to_owned())));
        let outcome = match client.live("/v1/events", &query).await {
            Ok(response) => {
                (failures, connected) = (0, true);
                follow(response, target.json, &mut last).await
            }
            Err(error) => Err(error),
        };
        failures += 1;
        match outcome {
            Err(error) if !connected || failures > ATTEMPTS || is_no(&error) => return Err(error),
            Ok(()) | Err(_) if failures == 1 => output::note(format_args!("the connection ended; trying to get back")),
            Ok(()) | Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_no(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit() == Exit::No)
}

async fn end_of_log(client: &Client) -> anyhow::Result<String> {
    let stats = client.get("/v1/store/stats", &[]).await?;
    Ok(stats["position"].as_u64().unwrap_or_default().to_string())
}

async fn follow(response: reqwest::Response, json: bool, last: &mut String) -> anyhow::Result<()> {
    let mut chunks = response.bytes_stream();
    let mut parser = Parser::default();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return Ok(()) };
        for message in parser.push(&chunk)? {
            if let Some(id) = message.id {
                *last = id;
            }
            show(&message.data, json)?;
        }
    }
    Ok(())
}

fn show(data: &str, json: bool) -> anyhow::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    if json {
        output::json_text(data);
        return Ok(());
    }
    let event: RecordedEvent = serde_json::from_str(data)?;
    let at = event.metadata.occurred_at.format("%T%.3f");
    let (position, version) = (event.position.to_string(), event.version);
    output::parts(&[
        (Tone::Plain, format!("{position:>8}  {at}  ")),
        (Tone::Heading, format!("{:<30}", event.event_type)),
        (Tone::Plain, format!("  {}#{version}  ", event.stream)),
        (Tone::Faint, event.data.get().to_owned()),
    ]);
    Ok(())
}

/// One message of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The place to go on after.
    pub id: Option<String>,
    /// What it says; empty for a heartbeat.
    pub data: String,
}

/// Takes bytes apart into messages. Source: the WHATWG's HTML standard, §9.2.6.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    message: Message,
}

impl Parser {
    /// Adds what has come; the messages that are complete now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Message>> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LONGEST {
            anyhow::bail!("a server-sent event of more than {LONGEST} bytes");
        }
        let mut complete = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                complete.push(std::mem::take(&mut self.message));
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.message.id = Some(value.to_owned()),
                "data" if self.message.data.is_empty() => value.clone_into(&mut self.message.data),
                "data" => self.message.data.extend(["\n", value]),
                _ => {} // `event`, `retry` and comments change nothing here.
            }
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_the_bytes_are_cut() {
        let text = b": hello\n\nid: 7\nevent: event\ndata: {\"a\":\ndata: 1}\n\nid: 8\r\ndata: x\r\n\r\n";
        for cut in 0..text.len() {
            let mut parser = Parser::default();
            let mut messages = parser.push(&text[..cut]).unwrap();
            messages.extend(parser.push(&text[cut..]).unwrap());
            messages.retain(|message| *message != Message::default());
            let expected = [("7", "{\"a\":\n1}"), ("8", "x")];
            let expected = expected.map(|(id, data)| Message { id: Some(id.to_owned()), data: data.to_owned() });
            assert_eq!(messages, expected, "cut at {cut}");
        }
    }
}
