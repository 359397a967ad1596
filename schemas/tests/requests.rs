//! What the document says of requests is what the code refuses: characters of texts, currencies, prices, adjustments.

use domain::money::Currency;
use jsonschema::Validator;
use schemas::openapi::document;
use serde_json::{Value, json};
use service_kit::text;

/// The schema of this name, with all that it refers to.
fn validator(name: &str) -> Validator {
    let document = document();
    let schema = json!({ "$ref": format!("#/components/schemas/{name}"), "components": document["components"] });
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn of_pattern(pattern: &str) -> Validator {
    jsonschema::validator_for(&json!({ "pattern": pattern })).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

#[test]
fn the_patterns_of_texts_take_what_the_code_takes_and_nothing_else() {
    let (any, not_blank) = (of_pattern(text::PATTERN), of_pattern(text::NOT_BLANK_PATTERN));
    // The basic plane, and emoji beyond it.
    for char in ('\0'..='\u{ffff}').chain('\u{1f600}'..='\u{1f64f}') {
        let alone = char.to_string();
        assert_eq!(any.is_valid(&json!(alone)), text::flaw(&alone).is_none(), "{}", text::name(char));
        assert_eq!(not_blank.is_valid(&json!(alone)), text::fits(&alone, 1), "{}", text::name(char));
        for around in [format!("a{char}b"), format!("{char}b"), format!("a{char}")] {
            for pattern in [&any, &not_blank] {
                assert_eq!(pattern.is_valid(&json!(around)), !text::acts(char), "{}", text::name(char));
            }
        }
    }
    assert!(any.is_valid(&json!("")) && !not_blank.is_valid(&json!("")));
    assert!(any.is_valid(&json!("  ")) && !any.is_valid(&json!(" \u{200b} ")));
}

#[test]
fn a_price_is_one_that_the_catalogue_takes() {
    let price = validator("Price");
    let of = |amount: i64, currency: &str| json!({ "amount": amount, "currency": currency });
    for currency in Currency::all() {
        assert!(price.is_valid(&of(1, currency.code())), "{currency}");
    }
    for currency in ["XAU", "XXX", "ZZZ", "eur", "EURO", "EU", ""] {
        assert!(currency.parse::<Currency>().is_err() && !price.is_valid(&of(1, currency)), "{currency}");
    }
    let bounds = [(0, false), (1, true), (1_000_000_000, true), (1_000_000_001, false), (-1, false)];
    for (amount, takes) in bounds {
        assert_eq!(price.is_valid(&of(amount, "EUR")), takes, "{amount}");
    }
    assert!(!price.is_valid(&json!({ "amount": 1, "currency": "EUR", "tax": 1 })));
    assert!(!price.is_valid(&json!([1, "EUR"])));
}

#[test]
fn an_adjustment_of_stock_is_not_0() {
    let body = validator("AdjustStockBody");
    for (delta, takes) in [(0, false), (1, true), (-1, true), (1_000_000, true), (1_000_001, false)] {
        assert_eq!(body.is_valid(&json!({ "delta": delta, "reason": "count" })), takes, "{delta}");
    }
    assert!(!body.is_valid(&json!({ "delta": 1, "reason": " " })));
}

#[test]
fn every_text_of_a_body_says_what_it_may_be() {
    fn bare(at: &str, schema: &Value, document: &Value, found: &mut Vec<String>) {
        if let Some(path) = schema["$ref"].as_str() {
            let target = document.pointer(path.trim_start_matches('#')).expect("references lead somewhere");
            return bare(path, target, document, found);
        }
        let is_text = schema["type"] == "string"
            || schema["type"].as_array().is_some_and(|types| types.contains(&json!("string")));
        if is_text && ["enum", "format", "pattern"].iter().all(|rule| schema.get(rule).is_none()) {
            found.push(at.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            bare(&format!("{at}/{name}"), property, document, found);
        }
        for way in ["oneOf", "anyOf", "allOf"] {
            let ways = schema[way].as_array().into_iter().flatten();
            ways.for_each(|way| bare(at, way, document, found));
        }
        if schema["items"].is_object() {
            bare(&format!("{at}[]"), &schema["items"], document, found);
        }
    }
    let (document, mut found, mut bodies) = (document(), Vec::new(), 0);
    for (path, methods) in document["paths"].as_object().expect("a document has paths") {
        for operation in methods.as_object().into_iter().flat_map(|methods| methods.values()) {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                bare(path, schema, &document, &mut found);
                bodies += 1;
            }
        }
    }
    assert!(bodies > 15 && found.is_empty(), "{bodies} bodies: {found:?}");
}
