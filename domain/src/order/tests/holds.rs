//! Several holds at once, and the risk review among them.

use super::*;

use HoldReason::{HighRiskOfFraud, IncorrectAddress, Other};

fn under_review() -> Given<Order> {
    given([placed(), assessed(RiskAssessment::Review), held(HighRiskOfFraud)])
}

#[test]
fn a_hold_is_released_by_its_reason_and_the_others_stay() {
    let both = given([placed(), confirmed(), held(IncorrectAddress), held(Other)]);
    let one = both.when(release_of(Other)).then([hold_released(Other)]);
    let one = one.when(release_of(Other)).then_nothing();
    let one = one.when(allow_dispatch()).then_rejected(Rejection::Held(IncorrectAddress));
    let free = one.when(release_of(IncorrectAddress)).then([hold_released(IncorrectAddress)]);
    free.when(allow_dispatch()).then([dispatch_allowed()]);
}

#[test]
fn a_release_without_a_reason_is_of_the_only_hold() {
    let both = given([placed(), held(IncorrectAddress), held(Other)]);
    let both = both.when(release()).then_rejected(Rejection::SeveralHolds(vec![IncorrectAddress, Other]));
    assert_eq!(both.state().held(), Some(IncorrectAddress), "the oldest");
    given([placed(), held(Other)]).when(release()).then([hold_released(Other)]);
}

#[test]
fn a_release_without_a_reason_never_ends_a_review() {
    under_review().when(release()).then_rejected(Rejection::UnderReview);
    let both = under_review().when(hold(Other)).then([held(Other)]);
    let both = both.when(release()).then_rejected(Rejection::SeveralHolds(vec![HighRiskOfFraud, Other]));
    let review = both.when(release_of(Other)).then([hold_released(Other)]);
    assert!(review.state().is_under_review());
    let ended = review.when(release_of(HighRiskOfFraud)).then([hold_released(HighRiskOfFraud)]);
    assert!(!ended.state().is_under_review());
    ended.when(judge(RiskAssessment::Refuse)).then_rejected(Rejection::RiskAlreadyAssessed);
}

#[test]
fn a_hold_that_was_there_before_the_review_stays_after_it() {
    let early = given([placed(), held(IncorrectAddress)]);
    let review = [assessed(RiskAssessment::Review), held(HighRiskOfFraud)];
    let both = early.when(assess(RiskAssessment::Review)).then(review);
    let go = [assessed(RiskAssessment::Approve), hold_released(HighRiskOfFraud)];
    let after = both.when(judge(RiskAssessment::Approve)).then(go).when(confirm()).then([confirmed()]);
    after.when(allow_dispatch()).then_rejected(Rejection::Held(IncorrectAddress));
}

#[test]
fn a_person_judges_only_what_is_under_review() {
    for verdict in [RiskAssessment::Approve, RiskAssessment::Refuse] {
        let early = given([placed()]).when(judge(verdict)).then_rejected(Rejection::NotUnderReview);
        early.when(assess(RiskAssessment::Approve)).then([assessed(RiskAssessment::Approve)]);
    }
    let approved = given([placed(), assessed(RiskAssessment::Approve)]);
    approved.when(judge(RiskAssessment::Refuse)).then_rejected(Rejection::RiskAlreadyAssessed);
    under_review().when(judge(RiskAssessment::Refuse)).then([assessed(RiskAssessment::Refuse)]);
}

#[test]
fn an_old_release_without_a_reason_clears_all() {
    let old = given([placed(), confirmed(), held(HighRiskOfFraud), held(Other), all_holds_released()]);
    assert_eq!(old.state().holds, []);
    old.when(allow_dispatch()).then([dispatch_allowed()]);
    let stored = crate::order::Event::decode("OrderHoldReleased", 1, "{}").unwrap();
    assert_eq!(stored, all_holds_released());
}

/// Four holds put and released in every order: what is left is what was put and not released since.
#[test]
fn holds_are_a_set_in_every_order() {
    let reasons = [HighRiskOfFraud, IncorrectAddress, Other, HoldReason::AwaitingPayment];
    for order in 0..24usize {
        let mut left: Vec<HoldReason> = reasons.to_vec();
        let mut pick = order;
        let mut permuted = Vec::new();
        for size in (1..=4).rev() {
            permuted.push(left.remove(pick % size));
            pick /= size;
        }
        let mut now = given([placed(), confirmed()]);
        for reason in permuted.iter().rev() {
            now = now.when(hold(*reason)).then([held(*reason)]).when(hold(*reason)).then_nothing();
        }
        for (released, reason) in permuted.iter().enumerate() {
            now = now.when(allow_dispatch()).then_rejected(Rejection::Held(permuted[3]));
            now = now.when(release_of(*reason)).then([hold_released(*reason)]);
            assert_eq!(now.state().holds.len(), 3 - released);
        }
        now.when(allow_dispatch()).then([dispatch_allowed()]);
    }
}

#[test]
fn an_order_is_shipped_from_one_location() {
    let mut asked = placing();
    asked.lines[1].item = "PEN@north".parse().unwrap();
    let several = Rejection::SeveralLocations { has: "main".parse().unwrap(), asked: "north".parse().unwrap() };
    given([]).when(Command::PlaceOrder(asked)).then_rejected(several);
}

#[test]
fn a_hold_is_called_by_the_word_that_is_stored() {
    for reason in <HoldReason as strum::VariantArray>::VARIANTS {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        assert_eq!(reason.to_string(), reason.as_str());
    }
}
