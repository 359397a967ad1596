//! What the simulated provider is told to do, by the card's token or an order's tag.
//!
//! A token is `tok_<behavior>[.<parameter>]`, such as `tok_decline.insufficient_funds`. An order tag
//! `script:<token>` overrides the card. Several tokens, comma-separated, are a sequence over the order's
//! authorizations: `script:tok_decline,tok_approve`; the last one stays. A token that is not in [`TOKENS`], or has a
//! parameter that it does not take, is declined as `unknown_token`. `docs/test-cards.md` says what each does.

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
    /// The authorization expires, and succeeds after that.
    LateSuccess,
    /// Each capture fails.
    CaptureFails,
    /// A capture takes one minor unit of what is asked for and says so, whenever it is asked.
    CaptureShort,
    /// The order's first capture fails, a capture of its next authorization does not.
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

/// All tokens, without their parameters.
pub const TOKENS: &[&str] = &[
    "tok_approve",
    "tok_decline",
    "tok_3ds_approve",
    "tok_3ds_abandon",
    "tok_timeout_charged",
    "tok_timeout_not_charged",
    "tok_error_twice",
    "tok_webhook_first",
    "tok_duplicate_webhooks",
    "tok_reordered_webhooks",
    "tok_lost_webhook",
    "tok_late_success",
    "tok_capture_fails",
    "tok_capture_fails_once",
    "tok_capture_short",
    "tok_capture_timeout",
    "tok_refund_fails",
    "tok_refund_fails_once",
];

impl Behaviour {
    /// What a token means; `None`: the token is unknown, or it does not take its parameter.
    pub fn of(token: &str) -> Option<Self> {
        let (name, parameter) = token.split_once('.').map_or((token, None), |(name, rest)| (name, Some(rest)));
        let number = |default: u32| match parameter {
            None => Some(default),
            Some(text) => text.parse::<u32>().ok().map(|times| times.min(TIMES_MAX)),
        };
        let word = |word: &str| match parameter {
            None => Some(false),
            Some(text) => (text == word).then_some(true),
        };
        let plain = |behaviour: Self| parameter.is_none().then_some(behaviour);
        match name {
            "tok_approve" => plain(Self::Approve),
            "tok_decline" => match parameter {
                Some("") => None,
                code => Some(Self::Decline { code: code.unwrap_or("card_declined").to_owned() }),
            },
            "tok_3ds_approve" => word("manual").map(|manual| Self::ThreeDsApprove { manual }),
            "tok_3ds_abandon" => word("never").map(|never| Self::ThreeDsAbandon { never }),
            "tok_timeout_charged" => number(0).map(|down| Self::TimeoutCharged { down }),
            "tok_timeout_not_charged" => plain(Self::TimeoutNotCharged),
            "tok_error_twice" => number(2).map(|times| Self::Errors { times }),
            "tok_webhook_first" => plain(Self::WebhookFirst),
            "tok_duplicate_webhooks" => number(3).map(|copies| Self::DuplicateWebhooks { copies: copies.max(1) }),
            "tok_reordered_webhooks" => plain(Self::ReorderedWebhooks),
            "tok_lost_webhook" => plain(Self::LostWebhook),
            "tok_late_success" => plain(Self::LateSuccess),
            "tok_capture_fails" => plain(Self::CaptureFails),
            "tok_capture_fails_once" => plain(Self::CaptureFailsOnce),
            "tok_capture_short" => plain(Self::CaptureShort),
            "tok_capture_timeout" => plain(Self::CaptureTimeout),
            "tok_refund_fails" => plain(Self::RefundFails),
            "tok_refund_fails_once" => plain(Self::RefundFailsOnce),
            _ => None,
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
            | Self::CaptureShort
            | Self::RefundFails
            | Self::RefundFailsOnce => self,
        }
    }

    /// How often each webhook of such a payment is delivered.
    pub fn copies(&self) -> u32 {
        if let Self::DuplicateWebhooks { copies } = self { *copies } else { 1 }
    }
}

/// The token that the order's `nth` authorization (from 0) follows.
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
    fn a_token_carries_its_parameter_and_no_other_one_is_known() {
        assert_eq!(Behaviour::of("tok_decline.no_funds"), Some(Behaviour::Decline { code: "no_funds".into() }));
        assert_eq!(Behaviour::of("tok_decline"), Some(Behaviour::Decline { code: "card_declined".into() }));
        assert_eq!(Behaviour::of("tok_error_twice.5"), Some(Behaviour::Errors { times: 5 }));
        assert_eq!(Behaviour::of("tok_error_twice.99999999"), Some(Behaviour::Errors { times: TIMES_MAX }));
        let wrong = [
            "tok_visa",
            "tok_aprove",
            "",
            "tok_approve.now",
            "tok_error_twice.x",
            "tok_3ds_approve.manul",
            "tok_decline.",
        ];
        for token in wrong {
            assert_eq!(Behaviour::of(token), None, "`{token}`");
        }
        assert!(TOKENS.iter().all(|token| Behaviour::of(token).is_some()));
    }

    #[test]
    fn the_page_of_test_cards_names_every_token() {
        let page = include_str!("../../../../docs/test-cards.md");
        for token in TOKENS {
            assert!(page.contains(&format!("`{token}`")), "docs/test-cards.md does not name `{token}`");
        }
    }
}
