//! Golden bytes: an entry that was written yesterday means the same tomorrow.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::codec::{CodecError, decode, encode};
use crate::hex;
use crate::principal::PrincipalId;

/// One of each command, in the order of their encoding.
fn all() -> Vec<Command> {
    let id = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);
    let owner = || Owner { node: "node1".to_owned(), epoch: 3 };
    let end = End {
        status: Status::Completed,
        ended_ms: 2,
        result: Some(Text::Inline("42".to_owned())),
        error: None,
        output: Text::Parts(2),
        output_bytes: 20_000,
    };
    let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let submit = |code| Submit {
        execution: id,
        owner: owner(),
        accepted_ms: 1,
        key: None,
        limits: Limits { wall_secs: 30, heap_bytes: 1 << 27, console_bytes: 1 << 20 },
        code,
    };
    let put = |to| MoveSession { id, session: "s".to_owned(), to, new: true, at_ms: 9 };
    let limits = Limits { wall_secs: 30, heap_bytes: 1 << 27, console_bytes: 1 << 20 };
    let principal = Some(PrincipalId([1; 16]));
    let by = |act| Command::For(For { principal, running_max: Some(5), act });
    vec![
        Command::Found(Found { cluster: id }),
        Command::NodeUp(NodeUp { node: "node1".to_owned(), incarnation: id, runs_scripts: true }),
        Command::NodeDown(NodeDown { node: "node1".to_owned(), epoch: 300 }),
        Command::Part(Part {
            execution: id,
            attempt: 1,
            kind: PartKind::Output,
            number: 7,
            text: "piece".to_owned(),
        }),
        Command::Submit(Submit {
            execution: id,
            owner: owner(),
            accepted_ms: 1,
            key: Some(Key { text: "key".to_owned(), digest: [9; 32] }),
            limits,
            code: Text::Inline("6 * 7".to_owned()),
        }),
        Command::Complete(Complete { execution: id, attempt: 1, owner: owner(), end: end.clone() }),
        Command::Cancel(Cancel { execution: id }),
        Command::Reassign(Reassign {
            execution: id,
            from_attempt: 1,
            to: Some(owner()),
            at_ms: 5,
            error: "lost".to_owned(),
        }),
        Command::Expire(Expire { before_ms: 1, rows_max: 2, bytes_max: 3 }),
        Command::SetHeapTags(SetHeapTags { id, heap: [7; 32], tags: tags.clone() }),
        Command::DeleteHeapTags(DeleteHeapTags {
            id,
            heap: [7; 32],
            keys: Some(vec!["k".to_owned()]),
        }),
        Command::WorkerDied(WorkerDied { id, code: [8; 32], reason: "why".to_owned(), at_ms: 6 }),
        Command::ForgetDeaths(ForgetDeaths { id, code: [8; 32], at_ms: 7 }),
        Command::SubmitStep(SubmitStep {
            submit: submit(Text::Inline("n += 1".to_owned())),
            session: Some("s".to_owned()),
            base: Base::Head,
            tags,
        }),
        Command::SubmitStep(SubmitStep {
            submit: submit(Text::Parts(2)),
            session: None,
            base: Base::Heap([6; 32]),
            tags: BTreeMap::new(),
        }),
        Command::CompleteStep(CompleteStep {
            complete: Complete { execution: id, attempt: 1, owner: owner(), end: end.clone() },
            input: Some([6; 32]),
            heap: Some(HeapLeft { hash: [5; 32], stored_bytes: 300, parent: Some([6; 32]) }),
        }),
        Command::MoveSession(put(MoveTo::Empty)),
        Command::MoveSession(put(MoveTo::Heap([4; 32]))),
        Command::MoveSession(put(MoveTo::Session("t".to_owned()))),
        Command::FoundHeaps(FoundHeaps { key: [3; 32] }),
        Command::DeleteSession(DeleteSession { id, session: "s".to_owned() }),
        Command::CompleteWithArtifacts(CompleteWithArtifacts {
            step: CompleteStep {
                complete: Complete { execution: id, attempt: 1, owner: owner(), end: end.clone() },
                input: None,
                heap: None,
            },
            artifacts: vec![ArtifactLeft {
                key: "k".to_owned(),
                mime_type: "image/png".to_owned(),
                bytes: 300,
                blob: [2; 32],
                stored_bytes: 400,
            }],
        }),
        Command::DeleteArtifact(DeleteArtifact { id, key: "k".to_owned() }),
        Command::OpenMcpSession(OpenMcpSession {
            id,
            session: "s".to_owned(),
            client: "{}".to_owned(),
            at_ms: 10,
        }),
        Command::UseMcpSessions(UseMcpSessions { sessions: vec!["s".to_owned()], at_ms: 11 }),
        Command::CloseMcpSession(CloseMcpSession { session: "s".to_owned() }),
        Command::ExpireMcpSessions(ExpireMcpSessions { before_ms: 12 }),
        by(Act::Submit(submit(Text::Inline("1".to_owned())))),
        by(Act::SubmitStep(SubmitStep {
            submit: submit(Text::Parts(2)),
            session: Some("s".to_owned()),
            base: Base::Head,
            tags: BTreeMap::new(),
        })),
        by(Act::SetHeapTags(SetHeapTags { id, heap: [7; 32], tags: BTreeMap::new() })),
        by(Act::DeleteHeapTags(DeleteHeapTags { id, heap: [7; 32], keys: None })),
        by(Act::MoveSession(put(MoveTo::Empty))),
        by(Act::OpenMcpSession(OpenMcpSession {
            id,
            session: "s".to_owned(),
            client: "{}".to_owned(),
            at_ms: 13,
        })),
        Command::For(For {
            principal: None,
            running_max: None,
            act: Act::SetHeapTags(SetHeapTags { id, heap: [7; 32], tags: BTreeMap::new() }),
        }),
    ]
}

#[test]
fn commands_have_the_bytes_they_had() {
    let golden = include_str!("golden.txt");
    let written: Vec<String> =
        all().into_iter().map(|command| hex::encode(&encode(&Batch::new(vec![command])))).collect();
    let known: Vec<&str> = golden.lines().collect();
    // New variants come at the end; what is there stays.
    assert_eq!(written, known, "if a command is new, add its line to golden.txt");
}

#[test]
fn old_bytes_mean_what_they_meant() {
    assert_eq!(include_str!("golden.txt").lines().count(), all().len());
    for (line, command) in include_str!("golden.txt").lines().zip(all()) {
        let digits = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..line.len()).step_by(2).map(digits).collect();
        assert_eq!(decode::<Batch>(&bytes).unwrap(), Batch::new(vec![command]));
    }
}

#[test]
fn bytes_of_another_version_cut_off_or_with_a_tail_are_refused() {
    let bytes = encode(&Batch::new(all()));
    assert!(matches!(decode::<Batch>(&[]), Err(CodecError::Empty)));
    let mut other = bytes.clone();
    other[0] = 9;
    assert!(matches!(decode::<Batch>(&other), Err(CodecError::Version(9))));
    for cut in 1..bytes.len() {
        assert!(decode::<Batch>(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut tail = bytes;
    tail.push(0);
    assert!(matches!(decode::<Batch>(&tail), Err(CodecError::Trailing(1))));
}
