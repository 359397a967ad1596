//! `backstitch saga retry|skip|compensate|resume|hand-over`: what a person does about one saga. What it would do is shown
//! first, at a version of the saga; it is done at that version or not at all.

use domain::money::Money;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::Problem;
use terminal::output::{self, Parts, Tone};
use terminal::{Exit, Failure};

use super::set::{self, Where};
use super::{find, tone};
use crate::cli::server::acting::Acting;
use crate::cli::server::client::{Client, Target};
use crate::cli::server::suggest;

/// A verb's arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub target: Target,
    /// The saga (`order_fulfilment-<id>`), its stream, or its order's id or number.
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    id: Option<String>,
    /// Instead of one saga all that fit, such as `state=needs_attention,step=refund`; known are state, type, step,
    /// direction, error_kind, error_code, definition_version, stuck_for.
    #[arg(long = "where", id = "filter", value_name = "WORD=VALUE,…")]
    filter: Option<Where>,
    /// Of a set: at most so many.
    #[arg(long, default_value_t = 200, requires = "filter")]
    limit: usize,
    /// Of a set: so many a second, such as `5/s` or `0.5/s`.
    #[arg(long, default_value = "5/s", requires = "filter", value_parser = set::rate)]
    rate: f64,
    /// Which step, if several could be meant.
    #[arg(long, value_parser = suggest::step(), hide_possible_values = true)]
    step: Option<String>,
    /// Only show what it would do.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    acting: Acting,
}

/// What an act does, as `POST /v1/sagas/{id}/{action}` tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Acted {
    pub saga: String,
    pub version: u64,
    pub summary: String,
    #[serde(default)]
    pub step: Option<String>,
    #[serde(default)]
    pub direction: Option<String>,
    #[serde(default)]
    pub sends: Vec<Sent>,
    #[serde(default)]
    pub irreversible: Vec<String>,
    pub state: String,
}

/// A command that is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    pub command: String,
    pub target: String,
    pub amount: Option<Money>,
}

impl Sent {
    pub fn told(&self) -> String {
        let amount = self.amount.map(|amount| format!(", {amount}")).unwrap_or_default();
        format!("{} to {}{amount}", self.command, self.target)
    }
}

/// An act on sagas, under one name and for one reason.
pub(super) struct Act<'a> {
    pub client: &'a Client,
    pub action: &'static str,
    pub actor: &'a str,
    pub reason: &'a str,
    pub step: Option<&'a str>,
}

impl Act<'_> {
    /// What it would do to a saga, if that still is at `version` where one is given; nothing is done.
    pub async fn dry_run(&self, saga: &str, version: Option<u64>) -> anyhow::Result<Result<Acted, Problem>> {
        match self.post(saga, version, &[("dry_run", "true".to_owned())]).await? {
            Ok(value) => read(value).map(Ok),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Does it, if the saga still is at `version`. Safe to repeat: the key says which saga, what, and at which version.
    pub async fn at(&self, saga: &str, version: u64) -> anyhow::Result<Result<Value, Problem>> {
        self.post(saga, Some(version), &[]).await
    }

    async fn post(
        &self,
        saga: &str,
        at: Option<u64>,
        query: &[(&'static str, String)],
    ) -> anyhow::Result<Result<Value, Problem>> {
        let action = self.action;
        let mut body = json!({ "reason": self.reason, "actor": self.actor });
        if let Some(step) = self.step {
            body["step"] = step.into();
        }
        // Who and why are in it too: the same key with another body would be refused as another request.
        let version = at.map(|version| version.to_string()).unwrap_or_default();
        let parts = ["operator", saga, action, &version, &body.to_string()];
        let key = domain::ids::derive(&parts).to_string();
        self.client.act(&format!("/v1/sagas/{saga}/{action}"), query, (&key, at), &body).await
    }
}

fn read(value: Value) -> anyhow::Result<Acted> {
    serde_json::from_value(value).map_err(|error| {
        let hint = "backstitch --version   # of another release than the server?";
        Failure::no_answer(format!("the server's answer cannot be read: {error}"), hint)
    })
}

impl Args {
    /// Runs the verb.
    pub async fn run(self, action: &'static str) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let reason = match &self.acting.reason {
            Some(reason) => reason,
            None if self.dry_run => "a look at what it would do",
            None => return Err(Failure::no_answer(format!("to {action} a saga needs a reason"), "add --reason \"…\"")),
        };
        let (actor, step) = (self.acting.actor.as_str(), self.step.as_deref());
        let act = Act { client: &client, action, actor, reason, step };
        if let Some(filter) = &self.filter {
            let pace = set::Pace { limit: self.limit, rate: self.rate };
            return set::run(&act, filter, pace, (!self.dry_run).then_some(&self.acting), self.target.json).await;
        }
        let saga = find::driving(&client, self.id.as_deref().unwrap_or_default()).await?;
        let would = act.dry_run(&saga, None).await?.map_err(|problem| refusal(&client, &saga, &problem))?;
        if self.target.json && self.dry_run {
            output::json(&would)?;
            return Ok(Exit::Done);
        }
        let words = lines(action, &would);
        if self.target.json {
            words.iter().for_each(|line| output::note(line.iter().map(|(_, text)| text.as_str()).collect::<String>()));
        } else {
            words.iter().for_each(|line| output::parts(line));
        }
        if self.dry_run {
            return Ok(Exit::Done);
        }
        if !self.acting.sure(&format!("\n{action} {saga}?"))? {
            output::note(format_args!("nothing was done"));
            return Ok(Exit::No);
        }
        let done = act.at(&saga, would.version).await?.map_err(|problem| refusal(&client, &saga, &problem))?;
        if self.target.json {
            output::json(&done)?;
        } else {
            let (done, who) = (read(done)?, actor);
            let told = format!("\ndone by {who}: {saga} is at version {}, ", done.version);
            output::parts(&[(Tone::Plain, told), (tone(&done.state), done.state.clone())]);
            output::note(format_args!("\nfollow it: backstitch saga timeline {saga}"));
        }
        Ok(Exit::Done)
    }
}

/// A refusal, with what to type to see why.
fn refusal(client: &Client, saga: &str, problem: &Problem) -> anyhow::Error {
    let detail = problem.detail.as_deref().unwrap_or(&problem.title);
    match problem.slug() {
        "saga-action-refused" => {
            Failure::no(detail, format!("backstitch saga why {saga}   # what it waits for, what can be done"))
        }
        "version-mismatch" => Failure::no(detail, "nothing was done; look again and decide anew: the same command"),
        _ => client.told(&format!("/v1/sagas/{saga}"), problem),
    }
}

/// What an act would do, aligned.
fn lines(action: &str, would: &Acted) -> Vec<Parts> {
    let toned = |name: &str, tone: Tone, value: &str| -> Parts {
        vec![(Tone::Plain, format!("  {name:<13} ")), (tone, value.to_owned())]
    };
    let fact = |name: &str, value: &str| toned(name, Tone::Plain, value);
    let mut lines: Vec<Parts> = vec![vec![(Tone::Heading, would.saga.clone()), (Tone::Plain, format!("  {action}"))]];
    lines.push(fact("it", &would.summary));
    if let Some(step) = &would.step {
        let back = would.direction.as_deref() == Some("undo");
        lines.push(fact("step", &if back { format!("undo {step}") } else { step.clone() }));
    }
    for (index, sent) in would.sends.iter().enumerate() {
        lines.push(fact(if index == 0 { "sends" } else { "" }, &sent.told()));
    }
    if would.sends.is_empty() {
        lines.push(fact("sends", "nothing"));
    }
    for (index, what) in would.irreversible.iter().enumerate() {
        lines.push(toned(if index == 0 { "irreversible" } else { "" }, Tone::Bad, what));
    }
    lines.push(fact("version", &would.version.to_string()));
    lines.push(toned("state then", tone(&would.state), &would.state));
    lines
}
