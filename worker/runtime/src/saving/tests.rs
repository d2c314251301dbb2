//! What survives being kept, and what does not.

use crate::testing::Session;

#[test]
fn a_counter_counts() {
    let mut session = Session::after("globalThis.n = 1");
    assert_eq!(session.step("n += 1; n").as_deref(), Some("2"));
    assert_eq!(session.step("n += 1; n").as_deref(), Some("3"));
}
