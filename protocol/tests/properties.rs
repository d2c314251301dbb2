//! Properties of the codec: what goes in comes out, however the stream is cut, and no bytes
//! whatsoever make it panic or hand out a message past its bounds.

#![allow(clippy::unwrap_used)]

use mcp_v8_protocol::{
    ArtifactHead, Decoder, Done, Failure, FailureKind, Fatal, FatalKind, Forked, FromWorker,
    HeapEngine, Hello, Job, JobHeap, JobLimits, Layer, LayerReport, Outcome, Ready, ToWorker,
    Usage, Wire, WrittenHeap, encode,
};
use proptest::prelude::*;

fn failure_kind() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        Just(FailureKind::Syntax),
        Just(FailureKind::Thrown),
        Just(FailureKind::UnhandledRejection),
        Just(FailureKind::Stalled),
        Just(FailureKind::OutOfMemory),
        Just(FailureKind::HeapNotSaved),
        Just(FailureKind::HeapTooLarge),
        Just(FailureKind::HeapNotRestored),
        Just(FailureKind::Stopped),
    ]
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    let heap = any::<Option<(Option<u64>, u64)>>()
        .prop_map(|heap| heap.map(|(base_bytes, bytes_max)| JobHeap { base_bytes, bytes_max }));
    let job = (".{0,64}", any::<u32>(), ".{0,400}", any::<[u64; 4]>(), heap).prop_map(
        |(
            execution_id,
            attempt,
            code,
            [heap_bytes, buffer_bytes, console_bytes, cpu_secs],
            heap,
        )| {
            let limits = JobLimits { heap_bytes, buffer_bytes, console_bytes, cpu_secs };
            ToWorker::Job(Job { execution_id, attempt, code: code.into(), limits, heap })
        },
    );
    prop_oneof![
        (any::<u64>(), any::<bool>())
            .prop_map(|(heap_bytes, isolate)| { ToWorker::Hello(Hello { heap_bytes, isolate }) }),
        job,
        any::<bool>().prop_map(|own_group| ToWorker::Fork { own_group }),
    ]
}

fn layer() -> impl Strategy<Value = LayerReport> {
    (proptest::sample::select(Layer::ALL.to_vec()), proptest::option::of(".{0,40}"))
        .prop_map(|(layer, missing)| LayerReport { layer, missing })
}

fn from_worker() -> impl Strategy<Value = FromWorker> {
    let outcome = prop_oneof![
        (proptest::option::of(".{0,200}"), any::<bool>())
            .prop_map(|(result, result_truncated)| Outcome::Completed { result, result_truncated }),
        (
            failure_kind(),
            ".{0,100}",
            proptest::option::of(".{0,200}"),
            any::<Option<u32>>(),
            any::<Option<u32>>()
        )
            .prop_map(|(kind, message, stack, line, column)| {
                Outcome::Failed(Failure { kind, message, stack, line, column })
            }),
    ];
    let done = (outcome, any::<[u64; 3]>(), any::<Option<[u64; 3]>>()).prop_map(
        |(outcome, [cpu_us, wall_us, buffer_peak_bytes], heap)| {
            let usage = Usage { cpu_us, wall_us, buffer_peak_bytes };
            let heap =
                heap.map(|[bytes, restore_us, save_us]| WrittenHeap { bytes, restore_us, save_us });
            FromWorker::Done(Box::new(Done { outcome, usage, heap }))
        },
    );
    let fatal =
        prop_oneof![Just(FatalKind::OutOfMemory), Just(FatalKind::V8), Just(FatalKind::Worker)];
    prop_oneof![
        (any::<u32>(), ".{0,20}", ".{0,20}", proptest::collection::vec(layer(), 0..6)).prop_map(
            |(pid, worker_version, v8_version, sandbox)| {
                let holder = pid % 2 == 0;
                let heap_engines = vec![HeapEngine([pid as u8; 32]); pid as usize % 3];
                FromWorker::Ready(Ready {
                    pid,
                    worker_version,
                    v8_version,
                    sandbox,
                    holder,
                    heap_engines,
                })
            }
        ),
        (any::<u32>(), any::<Option<i32>>())
            .prop_map(|(pid, group_refused)| { FromWorker::Forked(Forked { pid, group_refused }) }),
        ".{0,400}".prop_map(FromWorker::Console),
        Just(FromWorker::ConsoleTruncated),
        Just(FromWorker::Saving),
        (".{0,40}", ".{0,40}", any::<u64>()).prop_map(|(key, mime_type, bytes)| {
            FromWorker::Artifact(ArtifactHead { key, mime_type, bytes })
        }),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(FromWorker::ArtifactBytes),
        done,
        (fatal, ".{0,100}").prop_map(|(kind, message)| FromWorker::Fatal(Fatal { kind, message })),
    ]
}

/// Feeds `stream` in pieces of the given sizes and collects what comes out.
fn decode_in_pieces<M: Wire>(stream: &[u8], sizes: &[usize]) -> Vec<M> {
    let mut decoder = Decoder::<M>::default();
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        decoder.buffer_mut().extend_from_slice(piece);
        rest = left;
        while let Some(message) = decoder.next_message().unwrap() {
            messages.push(message);
        }
    }
    assert!(decoder.is_empty());
    messages
}

proptest! {
    #[test]
    fn messages_to_a_worker_survive_any_cutting(
        messages in proptest::collection::vec(to_worker(), 1..5),
        sizes in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
        prop_assert_eq!(decode_in_pieces::<ToWorker>(&stream, &sizes), messages);
    }

    #[test]
    fn messages_from_a_worker_survive_any_cutting(
        messages in proptest::collection::vec(from_worker(), 1..5),
        sizes in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
        prop_assert_eq!(decode_in_pieces::<FromWorker>(&stream, &sizes), messages);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::<FromWorker>::default();
        decoder.buffer_mut().extend_from_slice(&bytes);
        while let Ok(Some(_)) = decoder.next_message() {}
    }

    /// A flipped byte gives an error, another message of legal shape, or a wait for more.
    #[test]
    fn a_flipped_byte_never_panics(
        message in from_worker(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let mut frame = encode(&message).unwrap();
        let at = at.index(frame.len());
        frame[at] ^= flip;
        let mut decoder = Decoder::<FromWorker>::default();
        decoder.buffer_mut().extend_from_slice(&frame);
        while let Ok(Some(_)) = decoder.next_message() {}
    }
}
