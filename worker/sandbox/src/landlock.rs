//! Landlock: no file, no directory, no TCP port, no signal or abstract socket to the outside.

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};

/// Why Landlock is not on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LandlockError {
    /// The library refused.
    #[error("{0}")]
    Ruleset(#[from] RulesetError),
    /// The kernel has none.
    #[error("the kernel does not have it, or it is not among its active security modules")]
    Absent,
}

/// Denies everything that this kernel's Landlock can deny. There are no rules: nothing is allowed.
pub(crate) fn deny_all() -> Result<(), LandlockError> {
    // What a newer interface knows is left out on an older kernel; system calls are filtered too.
    let abi = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced { Err(LandlockError::Absent) } else { Ok(()) }
}
