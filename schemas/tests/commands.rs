//! The commands' contracts are all of the code's commands.

use std::collections::BTreeSet;

use domain::Kind;
use schemas::catalogue;

#[test]
fn every_command_of_the_code_has_a_contract() {
    for kind in Kind::ALL {
        let of_kind = catalogue::commands().into_iter().filter(|contract| contract.aggregate == kind.category);
        let listed: BTreeSet<&str> = of_kind.map(|contract| contract.name).collect();
        assert_eq!(listed, kind.commands.iter().copied().collect(), "the commands of {}", kind.category);
    }
}
