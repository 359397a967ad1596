//! What may change in `proto/`, and what may not: other teams' programs are built from it.
//!
//! *Invariant:* a program built from a released file goes on working. So messages, fields, enum values, services and calls
//! may be added, none may go; a field keeps its number, name, type and presence; a call keeps its messages and whether it
//! streams; a number that was given back (`reserved`) is not given out again. Comments are free.
//! Source: protobuf.dev, "Updating A Message Type"; names bind as well, for JSON and for generated code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};

/// The folder of the contracts, below `schemas/` and below a release's folder.
pub const FOLDER: &str = "proto";

/// The `.proto` files below `folder`'s `proto/`, by their path below that; none where there is no such folder.
///
/// # Errors
/// A folder that cannot be listed.
pub fn files(folder: &Path) -> Result<Vec<String>> {
    let root = folder.join(FOLDER);
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        let here = root.join(&below);
        if !here.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))? {
            let path = below.join(entry.with_context(|| format!("cannot list {}", here.display()))?.file_name());
            if root.join(&path).is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "proto") {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What the files below `folder`'s `proto/` say.
///
/// # Errors
/// A file that is not protobuf, with its place.
pub fn read(folder: &Path) -> Result<FileDescriptorSet> {
    let files = files(folder)?;
    if files.is_empty() {
        return Ok(FileDescriptorSet::default());
    }
    let compiled = protox::compile(&files, [folder.join(FOLDER)]);
    compiled.map_err(|error| anyhow::anyhow!("{error:?}")).with_context(|| format!("in {}", folder.display()))
}

/// What a program built from `old` cannot follow in `new`; empty: compatible.
pub fn breaks(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (All::of(old), All::of(new));
    let mut found = Vec::new();
    for (name, before) in &old.messages {
        match new.messages.get(name) {
            Some(now) => messages(name, before, now, &mut found),
            None => found.push(format!("the message {name} is gone")),
        }
    }
    for (name, before) in &old.enums {
        match new.enums.get(name) {
            Some(now) => enums(name, before, now, &mut found),
            None => found.push(format!("the enum {name} is gone")),
        }
    }
    for (name, before) in &old.services {
        match new.services.get(name) {
            Some(now) => services(name, before, now, &mut found),
            None => found.push(format!("the service {name} is gone")),
        }
    }
    found
}

/// Everything by its full name.
#[derive(Default)]
struct All<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    services: BTreeMap<String, &'a ServiceDescriptorProto>,
}

impl<'a> All<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut all = Self::default();
        // Google's own files are not ours to keep.
        for file in set.file.iter().filter(|file| !file.name().starts_with("google/")) {
            let package = file.package();
            file.message_type.iter().for_each(|message| all.message(package, message));
            all.enums.extend(file.enum_type.iter().map(|one| (format!("{package}.{}", one.name()), one)));
            all.services.extend(file.service.iter().map(|one| (format!("{package}.{}", one.name()), one)));
        }
        all
    }

    fn message(&mut self, within: &str, message: &'a DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        self.enums.extend(message.enum_type.iter().map(|one| (format!("{name}.{}", one.name()), one)));
        message.nested_type.iter().for_each(|nested| self.message(&name, nested));
        self.messages.insert(name, message);
    }
}

fn messages(name: &str, old: &DescriptorProto, new: &DescriptorProto, found: &mut Vec<String>) {
    for before in &old.field {
        let at = format!("{name}.{}", before.name());
        match new.field.iter().find(|field| field.number() == before.number()) {
            Some(now) => fields(&at, (before, old), (now, new), found),
            None => match new.field.iter().find(|field| field.name() == before.name()) {
                Some(now) => found.push(format!("{at}: was number {}, now {}", before.number(), now.number())),
                None => found.push(format!("{at} (number {}) is gone", before.number())),
            },
        }
    }
    for range in &old.reserved_range {
        let given_back = range.start()..range.end();
        for again in new.field.iter().filter(|field| given_back.contains(&field.number())) {
            found.push(format!("{name}.{}: number {} was given back once", again.name(), again.number()));
        }
    }
}

type Field<'a> = (&'a FieldDescriptorProto, &'a DescriptorProto);

fn fields(at: &str, (old, old_message): Field<'_>, (new, new_message): Field<'_>, found: &mut Vec<String>) {
    if old.name() != new.name() {
        found.push(format!("{at}: number {} is now called `{}`", old.number(), new.name()));
    }
    let kind = |field: &FieldDescriptorProto| {
        let named = matches!(field.r#type(), Type::Message | Type::Enum | Type::Group);
        let plain = || format!("{:?}", field.r#type()).to_lowercase();
        if named { field.type_name().trim_start_matches('.').to_owned() } else { plain() }
    };
    if kind(old) != kind(new) {
        found.push(format!("{at}: was `{}`, now `{}`", kind(old), kind(new)));
    }
    let presence = |(field, message): Field<'_>| match field.label() {
        Label::Repeated => "repeated".to_owned(),
        Label::Required => "required".to_owned(),
        Label::Optional if field.proto3_optional() => "optional".to_owned(),
        Label::Optional => match field.oneof_index.and_then(|index| message.oneof_decl.get(index as usize)) {
            Some(one) => format!("in `oneof {}`", one.name()),
            None => "plain".to_owned(),
        },
    };
    let (before, now) = (presence((old, old_message)), presence((new, new_message)));
    if before != now {
        found.push(format!("{at}: was {before}, now {now}"));
    }
}

fn enums(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, found: &mut Vec<String>) {
    for before in &old.value {
        match new.value.iter().find(|value| value.name() == before.name()) {
            Some(now) if now.number() == before.number() => {}
            Some(now) => {
                found.push(format!("{name}.{}: was number {}, now {}", before.name(), before.number(), now.number()));
            }
            None => found.push(format!("{name}.{} is gone", before.name())),
        }
    }
}

fn services(name: &str, old: &ServiceDescriptorProto, new: &ServiceDescriptorProto, found: &mut Vec<String>) {
    let shape = |method: &MethodDescriptorProto| {
        let one = |kind: &str, streams: bool| format!("{}{kind}", if streams { "stream " } else { "" });
        let (input, output) = (method.input_type(), method.output_type());
        let (asks, answers) = (one(input, method.client_streaming()), one(output, method.server_streaming()));
        format!("({asks}) returns ({answers})")
    };
    for before in &old.method {
        let at = format!("{name}.{}", before.name());
        match new.method.iter().find(|method| method.name() == before.name()) {
            Some(now) if shape(now) == shape(before) => {}
            Some(now) => found.push(format!("{at}: was {}, now {}", shape(before), shape(now))),
            None => found.push(format!("{at} is gone")),
        }
    }
}
