//! A worker of a server that runs as root does not run as root.

use mcp_v8_protocol::limits::NOBODY_ID;
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Becomes the user who owns nothing. A process that is not root stays who it is: it has no right
/// to change.
pub(crate) fn become_nobody() -> Result<(), Errno> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let group = Gid::from_raw(NOBODY_ID);
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    let user = Uid::from_raw(NOBODY_ID);
    set_thread_res_uid(user, user, user)
}
