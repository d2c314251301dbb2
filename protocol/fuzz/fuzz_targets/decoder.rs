//! The decoder on the supervisor's side, fed with whatever a hostile worker may write.
//!
//! The first byte chooses the size of the pieces in which the rest arrives. Whatever comes out must
//! encode again to a frame that decodes to the same message.
//!
//! ```text
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run decoder --fuzz-dir protocol/fuzz -- -max_total_time=60
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_v8_protocol::limits::{FRAME_HEADER_BYTES, FROM_WORKER_PAYLOAD_BYTES_MAX};
use mcp_v8_protocol::{Decoder, FromWorker, encode};

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let mut decoder = Decoder::<FromWorker>::default();
    for piece in stream.chunks(usize::from(*size) + 1) {
        decoder.buffer_mut().extend_from_slice(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    let frame = encode(&message).expect("what was decoded can be encoded");
                    let mut again = Decoder::<FromWorker>::default();
                    again.buffer_mut().extend_from_slice(&frame);
                    assert_eq!(again.next_message().expect("its own frame decodes"), Some(message));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.buffer_mut().len() <= FRAME_HEADER_BYTES + FROM_WORKER_PAYLOAD_BYTES_MAX + 256);
    }
});
