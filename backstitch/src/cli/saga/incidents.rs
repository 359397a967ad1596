//! `backstitch saga incidents`: the sagas that need a person, by what stands against them, each kind with what to type.

use chrono::{DateTime, Utc};
use domain::saga::Action;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use terminal::Exit;
use terminal::output::{self, Table, Tone};

use crate::cli::server::client::{Client, PAGE, Page, Target};

/// A kind of incident, as `GET /v1/sagas/incidents` tells it.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Incident {
    r#type: String,
    step: Option<String>,
    direction: Option<String>,
    error_kind: Option<String>,
    error_code: Option<String>,
    definition_version: i32,
    stuck: bool,
    count: u64,
    since: Option<DateTime<Utc>>,
    latest: Option<DateTime<Utc>>,
    example: String,
    last_error: Option<String>,
}

impl Incident {
    /// The words that find all of its kind.
    fn filter(&self) -> String {
        let version = self.definition_version.to_string();
        let words = [
            ("state", Some("needs_attention")),
            ("type", Some(self.r#type.as_str())),
            ("step", self.step.as_deref()),
            ("direction", self.direction.as_deref()),
            ("error_kind", self.error_kind.as_deref()),
            ("error_code", self.error_code.as_deref()),
            ("definition_version", Some(version.as_str())),
        ];
        let said = words.into_iter().filter_map(|(word, value)| Some(format!("{word}={}", value?)));
        said.collect::<Vec<_>>().join(",")
    }
}

/// Lists the incidents.
pub(super) async fn run(target: &Target, saga_type: Option<String>) -> anyhow::Result<Exit> {
    let client = Client::new(target)?;
    let mut query = vec![("limit", PAGE.to_string())];
    query.extend(saga_type.map(|saga_type| ("type", saga_type)));
    let page: Page<Incident> = client.get_as("/v1/sagas/incidents", &query).await?;
    let mut found = Vec::with_capacity(page.items.len());
    for incident in page.items {
        let why = client.get(&format!("/v1/sagas/{}/why", incident.example), &[]).await?;
        let way = way(&incident, suggested(&why));
        found.push((incident, way));
    }
    if target.json {
        let items: Vec<Value> = found
            .iter()
            .map(|(incident, way)| {
                let mut item = json!(incident);
                item["suggested"] = way.as_str().into();
                item
            })
            .collect();
        output::json(&json!({ "items": items, "has_more": page.has_more }))?;
        return Ok(Exit::Done);
    }
    print(&found);
    Ok(Exit::Done)
}

/// The verb that the saga itself would accept first.
fn suggested(why: &Value) -> Option<&'static str> {
    let can_do = why["can_do"].as_array()?;
    let of = |line: &str| Action::NAMES.iter().copied().find(|verb| line.contains(&format!("backstitch saga {verb} ")));
    can_do.iter().filter_map(Value::as_str).find_map(of)
}

/// What to type.
fn way(incident: &Incident, verb: Option<&'static str>) -> String {
    match verb {
        Some(verb) if incident.count > 1 => {
            format!("backstitch saga {verb} --where {} --reason \"…\"", incident.filter())
        }
        Some(verb) => format!("backstitch saga {verb} {} --reason \"…\"", incident.example),
        None => format!("backstitch saga why {}", incident.example),
    }
}

fn print(found: &[(Incident, String)]) {
    if found.is_empty() {
        output::line("no saga needs a person");
        return;
    }
    let mut table = Table::new(&[">count", "saga", "step", "*error", ">definition", "since", "example", "says"]);
    for (incident, _) in found {
        let step = incident.step.clone().unwrap_or_default();
        let step = if incident.direction.as_deref() == Some("undo") { format!("undo {step}") } else { step };
        let kind = incident.error_kind.clone().unwrap_or_default();
        table.row(
            if incident.stuck { Tone::Bad } else { Tone::Warn },
            [
                incident.count.to_string(),
                incident.r#type.clone(),
                step,
                kind,
                incident.definition_version.to_string(),
                incident.since.map(|since| since.format("%F %TZ").to_string()).unwrap_or_default(),
                output::short(&incident.example),
                incident.last_error.clone().unwrap_or_default(),
            ],
        );
    }
    table.print();
    output::line("\nwhat can be done, after a look at an example with `saga why` and `saga plan --if-fails`:");
    found.iter().for_each(|(_, way)| output::line(format_args!("  {way}")));
}
