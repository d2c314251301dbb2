//! `mcp-v8-without CALL[,CALL…] PROGRAM ARGUMENT…`: runs a program on a host that lacks system calls.
//!
//! The named calls fail with `ENOSYS` in the program and everything it starts, as they do on an
//! older kernel or in a container that forbids them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

const LANDLOCK_CREATE_RULESET: i64 = 444;
const UNSHARE: i64 = 272;
const PIVOT_ROOT: i64 = 155;
const SETRESUID: i64 = 117;
const PRCTL: i64 = 157;
const PR_SET_SECCOMP: u64 = 22;
const SECCOMP: i64 = 317;
const ENOSYS: u32 = 38;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let calls = arguments.next().expect("usage: mcp-v8-without CALLS PROGRAM ARGUMENT…");
    let mut rules = BTreeMap::new();
    for call in calls.split(',') {
        match call {
            "landlock" => {
                rules.insert(LANDLOCK_CREATE_RULESET, Vec::new());
            }
            "unshare" => {
                rules.insert(UNSHARE, Vec::new());
            }
            "pivot_root" => {
                rules.insert(PIVOT_ROOT, Vec::new());
            }
            "setresuid" => {
                rules.insert(SETRESUID, Vec::new());
            }
            "seccomp" => {
                rules.insert(SECCOMP, Vec::new());
                let setting = SeccompCondition::new(
                    0,
                    SeccompCmpArgLen::Qword,
                    SeccompCmpOp::Eq,
                    PR_SET_SECCOMP,
                )
                .unwrap();
                rules.insert(PRCTL, vec![SeccompRule::new(vec![setting]).unwrap()]);
            }
            other => {
                panic!("unknown call {other}: landlock, pivot_root, seccomp, setresuid or unshare")
            }
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let lacking = SeccompAction::Errno(ENOSYS);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, lacking, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let error = Command::new(arguments.next().expect("a program")).args(arguments).exec();
    panic!("the program does not start: {error}");
}
