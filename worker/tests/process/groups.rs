//! Children that are born in control groups of their own. The groups here have no controllers, which a
//! host of version 1 beside version 2 keeps to itself: what is tried is where a child begins.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcp_v8_protocol::limits::NOBODY_ID;
use mcp_v8_protocol::{FromWorker, Hello, ToWorker, encode};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::harness::{LIMITS, Worker};

/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A control group for this test, and what was made in it.
struct Groups {
    directory: PathBuf,
}

impl Groups {
    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let mount = mount.expect("a cgroup2 file system").split(' ').nth(4).unwrap();
        let name = format!("mcp-v8-test-{}", std::process::id());
        let directory = Path::new(mount).join(name);
        std::fs::create_dir(&directory).expect("the right to make control groups");
        Self { directory }
    }

    fn make(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let begun = Instant::now();
        // What holds the children's process namespace waits for the end of this process.
        std::fs::write(self.directory.join("cgroup.kill"), "1").unwrap();
        for entry in std::fs::read_dir(&self.directory).unwrap().flatten() {
            // Until those who were in it are gone for good.
            while entry.path().is_dir() && std::fs::remove_dir(entry.path()).is_err() {
                assert!(begun.elapsed() < DEADLINE, "{} is in use", entry.path().display());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::fs::remove_dir(&self.directory).unwrap();
    }
}

fn give_to_workers(group: &Path, user: u32) {
    std::os::unix::fs::chown(group.join("cgroup.procs"), Some(user), None).unwrap();
}

fn group_of(pid: u32) -> String {
    let all = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    all.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// Asks for a child in a group; says who it is, and what the kernel said to the group.
fn fork_into(template: &mut Worker, group: &Path) -> (u32, Option<i32>) {
    let directory = OwnedFd::from(std::fs::File::open(group).unwrap());
    let frame = encode(&ToWorker::Fork { own_group: true }).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [directory.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let frame = [IoSlice::new(&frame)];
    sendmsg(template.stream(), &frame, &mut control, SendFlags::empty()).unwrap();
    match template.receive() {
        Some(FromWorker::Forked(forked)) => (forked.pid, forked.group_refused),
        other => panic!("{other:?} where Forked was due"),
    }
}

/// Its socket is closed, since nobody took it: a child that waits for a job ends.
fn wait_for_end(pid: u32) {
    let pid = Pid::from_raw(pid as i32);
    assert!(waitpid(pid, WaitOptions::empty()).unwrap().unwrap().1.exited());
}

#[test]
fn a_child_is_born_in_its_group_or_beside_its_template_if_the_kernel_forbids_it() {
    let groups = Groups::new();
    let (templates, own) = (groups.make("templates"), groups.make("worker"));
    give_to_workers(&groups.directory, NOBODY_ID);
    give_to_workers(&own, NOBODY_ID);

    let mut template = Worker::spawn_with(&["--process=template", "--groups=own"]);
    std::fs::write(templates.join("cgroup.procs"), template.id().to_string()).unwrap();
    template.send(&ToWorker::Hello(Hello { heap_bytes: LIMITS.heap_bytes, isolate: true }));
    assert!(matches!(template.receive(), Some(FromWorker::Ready(_))));

    let (first, refused) = fork_into(&mut template, &own);
    assert_eq!(refused, None);
    assert!(group_of(first).ends_with("/worker"), "{}", group_of(first));
    assert!(group_of(template.id()).ends_with("/templates"));
    wait_for_end(first);

    give_to_workers(&own, 0);
    let (second, refused) = fork_into(&mut template, &own);
    assert_eq!(refused, Some(Errno::ACCESS.raw_os_error()));
    assert!(group_of(second).ends_with("/templates"), "{}", group_of(second));
    wait_for_end(second);

    // A group that is promised and does not come.
    template.send(&ToWorker::Fork { own_group: true });
    match template.receive() {
        Some(FromWorker::Fatal(fatal)) => assert!(fatal.message.contains("no control group came")),
        other => panic!("{other:?} where Fatal was due"),
    }
}
