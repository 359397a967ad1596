//! What the simulated provider is told to do, by the card's token or an order's tag.
//!
//! A token is `tok_<behaviour>[.<parameter>]`, such as `tok_decline.insufficient_funds`. An order tag
//! `script:<token>` overrides the card. Several tokens, comma-separated, are a sequence over the order's
//! authorisations: `script:tok_decline,tok_approve`; the last one stays. An unknown token approves.

/// What a payment does at the simulated provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// All goes well.
    Approve,
    /// The card is refused.
    Decline {
        /// The reason, `card_declined` unless the token says another.
        code: String,
    },
    /// The customer must confirm, and does after the configured delay; `.manual`: by `POST /actions/…/approve`.
    ThreeDsApprove {
        /// Waits for the action.
        manual: bool,
    },
    /// The customer must confirm, and gives up after the configured delay; `.never`: does nothing at all.
    ThreeDsAbandon {
        /// Not even the provider ever says that it is over.
        never: bool,
    },
    /// The money is held, the answer never comes, nor a webhook: only `fetch` or the same key tells.
    TimeoutCharged {
        /// `.N`: the next N contacts about it fail too, `fetch` included.
        down: u32,
    },
    /// The first call is never answered and nothing is done; the same key again approves.
    TimeoutNotCharged,
    /// The first calls fail with 500 and nothing is done; then all goes well.
    Errors {
        /// How many, 2 unless the token says `.N`.
        times: u32,
    },
    /// The webhook arrives before the answer to the call.
    WebhookFirst,
    /// Each webhook is delivered several times.
    DuplicateWebhooks {
        /// How often, 3 unless the token says `.N`.
        copies: u32,
    },
    /// Webhooks arrive newest first: `authorized` before `action_required`.
    ReorderedWebhooks,
    /// The call is answered with "still at it", and the webhook that would tell is lost.
    LostWebhook,
    /// The authorisation expires, and succeeds after that.
    LateSuccess,
    /// Each capture fails.
    CaptureFails,
    /// The order's first capture fails, a capture of its next authorisation does not.
    CaptureFailsOnce,
    /// The money is taken, the answer never comes, nor a webhook: only `fetch` or the same key tells.
    CaptureTimeout,
    /// A refund is taken and later fails.
    RefundFails,
    /// The first refund is taken and later fails, the next one does not.
    RefundFailsOnce,
}

/// Failing calls or copies that a token may ask for, so that a script always comes to its end.
const TIMES_MAX: u32 = 100;

impl Behaviour {
    /// What a token means.
    pub fn of(token: &str) -> Self {
        let (name, parameter) = token.split_once('.').map_or((token, None), |(name, rest)| (name, Some(rest)));
        let number = |default: u32| {
            parameter.and_then(|text| text.parse::<u32>().ok()).map_or(default, |times| times.min(TIMES_MAX))
        };
        match name {
            "tok_decline" => Self::Decline { code: parameter.unwrap_or("card_declined").to_owned() },
            "tok_3ds_approve" => Self::ThreeDsApprove { manual: parameter == Some("manual") },
            "tok_3ds_abandon" => Self::ThreeDsAbandon { never: parameter == Some("never") },
            "tok_timeout_charged" => Self::TimeoutCharged { down: number(0) },
            "tok_timeout_not_charged" => Self::TimeoutNotCharged,
            "tok_error_twice" => Self::Errors { times: number(2) },
            "tok_webhook_first" => Self::WebhookFirst,
            "tok_duplicate_webhooks" => Self::DuplicateWebhooks { copies: number(3).max(1) },
            "tok_reordered_webhooks" => Self::ReorderedWebhooks,
            "tok_lost_webhook" => Self::LostWebhook,
            "tok_late_success" => Self::LateSuccess,
            "tok_capture_fails" => Self::CaptureFails,
            "tok_capture_fails_once" => Self::CaptureFailsOnce,
            "tok_capture_timeout" => Self::CaptureTimeout,
            "tok_refund_fails" => Self::RefundFails,
            "tok_refund_fails_once" => Self::RefundFailsOnce,
            _ => Self::Approve,
        }
    }

    /// What becomes of it where nothing takes time and there are no webhooks: the outcome without the way there.
    #[must_use]
    pub fn at_once(self) -> Self {
        match self {
            Self::ThreeDsApprove { .. }
            | Self::TimeoutCharged { .. }
            | Self::TimeoutNotCharged
            | Self::Errors { .. }
            | Self::WebhookFirst
            | Self::DuplicateWebhooks { .. }
            | Self::ReorderedWebhooks
            | Self::LostWebhook
            | Self::LateSuccess
            | Self::CaptureTimeout => Self::Approve,
            Self::Approve
            | Self::Decline { .. }
            | Self::ThreeDsAbandon { .. }
            | Self::CaptureFails
            | Self::CaptureFailsOnce
            | Self::RefundFails
            | Self::RefundFailsOnce => self,
        }
    }

    /// How often each webhook of such a payment is delivered.
    pub fn copies(&self) -> u32 {
        if let Self::DuplicateWebhooks { copies } = self { *copies } else { 1 }
    }
}

/// The token that the order's `nth` authorisation (from 0) follows.
pub fn token<'a>(payment_method: &'a str, tags: &'a [String], nth: usize) -> &'a str {
    let script = tags.iter().find_map(|tag| tag.strip_prefix("script:")).unwrap_or(payment_method);
    let mut tokens = script.split(',').map(str::trim);
    tokens.clone().nth(nth).or_else(|| tokens.next_back()).unwrap_or(payment_method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_overrides_the_card_and_a_sequence_follows_the_orders_authorisations() {
        let tags = ["gift".to_owned(), "script:tok_decline.no_funds, tok_approve".to_owned()];
        assert_eq!(token("tok_3ds_approve", &[], 3), "tok_3ds_approve");
        assert_eq!(token("tok_3ds_approve", &tags, 0), "tok_decline.no_funds");
        assert_eq!(token("tok_3ds_approve", &tags, 1), "tok_approve");
        assert_eq!(token("tok_3ds_approve", &tags, 9), "tok_approve");
    }

    #[test]
    fn a_token_carries_its_parameter_and_an_unknown_one_approves() {
        assert_eq!(Behaviour::of("tok_decline.no_funds"), Behaviour::Decline { code: "no_funds".into() });
        assert_eq!(Behaviour::of("tok_decline"), Behaviour::Decline { code: "card_declined".into() });
        assert_eq!(Behaviour::of("tok_error_twice.5"), Behaviour::Errors { times: 5 });
        assert_eq!(Behaviour::of("tok_error_twice.99999999"), Behaviour::Errors { times: TIMES_MAX });
        assert_eq!(Behaviour::of("tok_visa"), Behaviour::Approve);
    }
}
